"""How queries run in this process: admission, threads, time, and what is seen of them."""
