"""A small bookshop that generates realistic traces: `stretto demo` sends them, benchmarks/ uses them as load."""

from app.cli.demo.command import main

__all__ = ["main"]
