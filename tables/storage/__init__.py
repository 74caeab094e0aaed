"""Object storage, checksums, and a cache with a size limit."""
