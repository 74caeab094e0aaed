"""The live store: spans that are not in a visible block yet, searchable at once."""
