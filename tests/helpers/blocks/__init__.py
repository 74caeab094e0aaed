"""Blocks, catalogues, compactors and files for tests."""
