"""A small bookshop that makes realistic traces: `stretto demo` sends them, benchmarks/ loads with them."""

from app.cli.demo.command import main

__all__ = ["main"]
