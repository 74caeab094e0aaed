"""`stretto doctor`: looks at everything that Stretto stands on, and says what is wrong and what to do."""

from app.cli.doctor.command import add_arguments, main

__all__ = ["add_arguments", "main"]
