"""Pushes: what is due, the requests that carry it, and the queues that send it."""
