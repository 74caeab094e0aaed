"""Object storage, checksums, and the cache of bytes."""
