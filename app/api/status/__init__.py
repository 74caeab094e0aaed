"""What a process says of itself: readiness, status pages, rings, profiles."""
