"""Object storages and caches on loopback, and what goes wrong with them."""
