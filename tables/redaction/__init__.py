"""Redactions: traces and attribute values that are removed for good, from blocks and from what is not in blocks yet."""
