"""The sections of stretto.yaml, each named as its key."""
