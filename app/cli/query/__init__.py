"""`stretto query`: queries a running server over its HTTP API."""

from app.cli.query.command import main as main
