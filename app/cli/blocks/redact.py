"""`stretto blocks redact`: removes an attribute, or some of its values, for good."""

import argparse
from collections.abc import Callable

from app.cli.blocks.removal import removal_arguments, remove, trace_id_of
from app.cli.blocks.storage import BlocksError
from app.cli.query.times import moment_s
from app.settings import Settings
from tables.redaction.rules import Redaction, parse_attribute
from tables.units import NS_PER_S


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "Remove an attribute for good: blocks are written anew without it, and what is not in blocks yet is hidden "
        "from queries and left out when it is flushed. Spans themselves stay."
    )
    parser.add_argument(
        "--attribute", required=True, metavar="NAME", help="such as span.user.email; .user.email for every scope"
    )
    parser.add_argument("--value", metavar="TEXT", help="only this value (default: all values)")
    parser.add_argument("--trace", metavar="ID", help="only of this trace, in hex")
    parser.add_argument("--since", type=moment_s, metavar="TIME", help="only of spans that start at this time or later")
    parser.add_argument("--until", type=moment_s, metavar="TIME", help="only of spans that start before this time")
    removal_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Raises: BlocksError, SettingsError"""
    try:
        attribute = parse_attribute(args.attribute)
    except ValueError as err:
        raise BlocksError(f"--attribute: {err}") from err
    wanted = Redaction(
        trace_id=trace_id_of(args.trace) if args.trace else "",
        attribute=attribute,
        value=args.value,
        since_ns=None if args.since is None else args.since * NS_PER_S,
        until_ns=None if args.until is None else args.until * NS_PER_S,
    )
    return remove(args, settings, wanted)
