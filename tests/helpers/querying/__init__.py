"""Queries in one process and between several, and the API over them."""
