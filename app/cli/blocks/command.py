"""`stretto blocks list|show|check|files|drop-trace|redact`: what lies in storage, without a running server."""

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Final

from app.settings import Settings

# Subcommand → the module of this package with its `arguments` and `main`, and its help.
_ACTIONS: Final = {
    "list": ("listing", "list the visible blocks, and the sums of each level"),
    "show": ("show", "show a block: its meta, files and columns"),
    "files": ("files", "print the Parquet files of visible blocks, for other tools"),
    "check": ("check", "compare all objects with what was written; repair what can be made anew"),
    "drop-trace": ("drop_trace", "remove a trace for good"),
    "redact": ("redact", "remove an attribute, or some of its values, for good"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands to the parser of `stretto blocks`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (module, text) in _ACTIONS.items():
        import_module(f"app.cli.blocks.{module}").arguments(actions.add_parser(name, help=text))


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Runs a subcommand. Raises: StrettoError"""
    module, _ = _ACTIONS[args.action]
    code: int = import_module(f"app.cli.blocks.{module}").main(args, settings)
    return code
