"""The process as a whole: topics, storage, overrides, memory, event loop, shutdown."""
