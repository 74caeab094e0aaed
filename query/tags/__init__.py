"""Tag names and tag values."""
