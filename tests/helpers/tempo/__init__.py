"""Tempo as others know it: its blocks, messages and recorded answers."""
