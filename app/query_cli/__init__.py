"""`stretto query`: asks a running server over its HTTP API."""

from app.query_cli.command import main as main
