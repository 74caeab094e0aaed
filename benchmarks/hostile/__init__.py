"""What hurts: commands that try it against a running Stretto."""
