"""Tempo's query API, one file per family of endpoints."""
