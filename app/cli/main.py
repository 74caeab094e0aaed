"""The command `stretto`: one function per subcommand.

A subcommand imports what it needs when it is called: `stretto config` needs no Kafka and no gRPC.
"""

import argparse
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from app.errors import SettingsError, StrettoError
from app.settings import Settings, load

EXIT_FAILED: Final = 1
EXIT_WRONG: Final = 2  # as argparse's: what was asked for cannot be understood


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (default: the process's) and returns the exit code. Errors go to stderr without a
    traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(argv)
    args, rest = parser.parse_known_args(argv)
    if rest and args.command not in _OWN_PARSER:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code = _OWN_PARSER[args.command](rest) if args.command in _OWN_PARSER else _COMMANDS[args.command](args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return 0  # `| head` has seen enough
    except SettingsError as wrong:
        return _fail(wrong, EXIT_WRONG)
    except StrettoError as wrong:
        return _fail(wrong, EXIT_FAILED)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stretto",
        description="A distributed-tracing backend. It reads its settings from stretto.yaml and the environment.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    config = commands.add_parser(
        "config", help="print the settings that hold; check, migrate from Tempo, JSON schema for editors"
    )
    config.add_argument(
        "--table",
        action="store_true",
        help="print all settings with their defaults as a Markdown table instead",
    )
    if "config" in argv:
        from app.cli.config.command import add_arguments as config_arguments

        config_arguments(config)
    commands.add_parser("run", help="start Kafka, unless KAFKA_URL names one, and workers")
    doctor = commands.add_parser(
        "doctor", help="look at Kafka, storage, clocks, disk, ports, limits, versions; say what is wrong"
    )
    if "doctor" in argv:
        from app.cli.doctor import add_arguments as doctor_arguments

        doctor_arguments(doctor)
    explain = commands.add_parser("explain", help="print how a TraceQL query runs, and what it reads")
    if "explain" in argv:
        from app.cli.explain import arguments

        arguments(explain)
    blocks = commands.add_parser("blocks", help="what lies in storage: list, show, check, files, drop-trace, redact")
    if "blocks" in argv:
        from app.cli.blocks.command import add_arguments

        add_arguments(blocks)
    imports = commands.add_parser("import", help="import blocks of Grafana Tempo")
    if "import" in argv:
        from app.cli.imports import arguments as import_arguments

        import_arguments(imports)
    # Their own parsers read their arguments, --help too.
    commands.add_parser("query", help="query a running server: search, trace, metrics, tags, values", add_help=False)
    commands.add_parser("token", help="create a token for the file that server.auth_file names")
    commands.add_parser("demo", help="send realistic traces, for a first look", add_help=False)
    commands.add_parser("vulture", help="write known traces, and check for ever that they are found", add_help=False)
    return parser


def _settings() -> Settings:
    return load(os.environ, Path.cwd())


def _config(args: argparse.Namespace) -> int:
    from app.cli.config.command import main as config

    return config(args, _settings)


def _doctor(args: argparse.Namespace) -> int:
    from app.cli.doctor import main as doctor

    return doctor(args)


def _run(_: argparse.Namespace) -> int:
    from app.standalone.run import main as run

    return run(_settings())


def _explain(args: argparse.Namespace) -> int:
    from app.cli.explain import main as explain

    return explain(args, _settings)


def _blocks(args: argparse.Namespace) -> int:
    from app.cli.blocks.command import main as blocks

    return blocks(args, _settings)


def _import(args: argparse.Namespace) -> int:
    from app.cli.imports import main as imports

    return imports(args, _settings)


def _query(argv: list[str]) -> int:
    from app.cli.query import main as query

    return query(argv)


def _token(_: argparse.Namespace) -> int:
    from app.cli.token import main as token

    return token()


def _demo(argv: list[str]) -> int:
    from app.cli.demo import main as demo

    return demo(argv)


def _vulture(argv: list[str]) -> int:
    from app.cli.vulture import main as vulture

    return vulture(argv)


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "config": _config,
    "run": _run,
    "doctor": _doctor,
    "token": _token,
    "explain": _explain,
    "blocks": _blocks,
    "import": _import,
}
# Their own parsers read what follows.
_OWN_PARSER: Final[Mapping[str, Callable[[list[str]], int]]] = {"query": _query, "demo": _demo, "vulture": _vulture}


def _output_is_closed() -> bool:
    """Whether nobody reads what is printed any more. If so, the rest of it goes nowhere, also when Python ends."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _fail(wrong: StrettoError, code: int) -> int:
    sys.stderr.write("".join(f"stretto: {line}\n" for line in str(wrong).splitlines()))
    return code
