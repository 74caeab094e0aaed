"""Grafana Tempo's blocks, vParquet4 and vParquet5: read as columns, and imported as blocks of ours."""
