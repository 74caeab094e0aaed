"""Answers queries in this process: admission, threads, and what is missing from an answer."""
