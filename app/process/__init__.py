"""What concerns the process as a whole: topics, storage, overrides, memory, the event loop, the way it ends."""
