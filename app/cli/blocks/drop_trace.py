"""`stretto blocks drop-trace`: removes a trace for good."""

import argparse
from collections.abc import Callable

from app.cli.blocks.removal import removal_arguments, remove, trace_id_of
from app.settings import Settings
from tables.redaction.rules import Redaction


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "Remove a trace for good: blocks are written anew without it, and what is not in blocks yet is hidden from "
        "queries and left out when it is flushed."
    )
    parser.add_argument("trace", metavar="ID", help="trace id in hex; leading zeros may be omitted")
    removal_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Raises: BlocksError, SettingsError"""
    return remove(args, settings, Redaction(trace_id=trace_id_of(args.trace)))
