"""Compares two traces, span by span, in the forms of Tempo's POST /api/v2/traces/diff."""
