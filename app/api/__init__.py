"""Tempo's HTTP API: one file per family of endpoints; `server.build_api` joins them."""
