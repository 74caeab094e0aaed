"""`stretto import tempo`: brings blocks of Grafana Tempo into the storage of this installation."""

from app.cli.imports.command import arguments, main

__all__ = ["arguments", "main"]
