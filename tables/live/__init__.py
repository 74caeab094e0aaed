"""The live store: what came and is not yet in a visible block, searchable at once."""
