"""The arguments of `stretto config`, and what each of its actions prints."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from app.settings import Settings, to_yaml
from app.settings.show import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions. Without one, the settings that hold are printed."""
    parser.description = "Without an ACTION it prints the settings that hold as YAML, secrets masked."
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="say all that is wrong with a settings file or an overrides file",
        description="Reads a settings file as `stretto run` would, with the environment, then the overrides file and "
        "the files of tokens, certificates and secrets that it names. Prints each problem with its place and what to "
        "do. Exit code 0: nothing is wrong, 2: something is.",
    )
    check.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a settings file, or an overrides file; without it the one that STRETTO_CONFIG names, or stretto.yaml",
    )
    check.add_argument(
        "--overrides", action="store_true", help="FILE is an overrides file, even if a tenant's name looks like a key"
    )
    check.add_argument(
        "--no-files",
        action="store_true",
        help="do not read the files that the settings name; for a machine that does not have them",
    )
    migrate = actions.add_parser(
        "migrate",
        help="make a settings or overrides file from one of Grafana Tempo 2.x or 3.x",
        description="Prints our settings. What was changed, what has no counterpart here and why, and what is left to "
        "do by hand is listed on stderr, without values that may be secret. Variables (${NAME}) are kept as they are. "
        "Exit code 0: nothing is left to do, 1: something is.",
    )
    migrate.add_argument("file", metavar="FILE", help="Tempo's file; - for stdin")
    migrate.add_argument("--output", "-o", metavar="FILE", help="write the settings there instead of to stdout")
    migrate.add_argument("--overrides", action="store_true", help="FILE is an overrides file of single tenants")
    schema = actions.add_parser(
        "schema",
        help="print a JSON schema of the settings file, for editors",
        description="Prints a JSON schema. Editors with a YAML language server complete and check keys by it.",
    )
    schema.add_argument("--overrides", action="store_true", help="of the overrides file instead")


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Runs an action. Raises: StrettoError"""
    match args.action:
        case "check":
            from app.cli.config.check import main as check

            return check(args.file, overrides=args.overrides, files=not args.no_files)
        case "migrate":
            from app.cli.config.migrate import main as migrate

            output = Path(args.output) if args.output else None
            return migrate(args.file, output, overrides=args.overrides)
        case "schema":
            from app.settings.schema import overrides_schema, schema_text, settings_schema

            sys.stdout.write(schema_text(overrides_schema() if args.overrides else settings_schema()))
        case _:
            sys.stdout.write(table() if args.table else to_yaml(settings()))
    return 0
