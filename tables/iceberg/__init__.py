"""Iceberg tables over the files of blocks: a table per tenant, which other engines read through their catalog.

The package pyiceberg is optional (`stretto[iceberg]`): modules here import it where they use it.
"""
