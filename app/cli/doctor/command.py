"""The arguments of `stretto doctor`, how checks are run, and how their findings are printed."""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.cli.config.check import check as check_settings
from app.cli.doctor import clock, disk, kafka, limits, ports, storage, versions
from app.cli.doctor.diagnosis import Check, Diagnosis, DoctorVerdict, Surroundings, ok, warning, wrong
from app.errors import StrettoError
from app.settings.load import examine

CHECKS: Final[Mapping[str, Check]] = {
    "kafka": kafka.check,
    "storage": storage.check,
    "clock": clock.check,
    "disk": disk.check,
    "ports": ports.check,
    "limits": limits.check,
    "versions": versions.check,
}
SETTINGS: Final = "settings"
_TIMEOUT_S: Final = 20.0
_EXIT_WRONG: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Looks at the settings, Kafka, the object storage, clocks, the disk, ports, limits of the system and versions. "
        "It may run beside a running server, which it does not disturb. Exit code 0: nothing is wrong, 1: something is."
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--only",
        metavar="CHECK",
        action="append",
        choices=[SETTINGS, *CHECKS],
        help=f"make this check only; may be repeated: {', '.join([SETTINGS, *CHECKS])}",
    )
    parser.add_argument(
        "--timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS", help="how long a check may take (%(default)g)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print only what is not ok")


def main(args: argparse.Namespace) -> int:
    """Makes the checks and prints what they found. Out: the exit code"""
    found = examined(os.environ, Path.cwd(), args.only or [SETTINGS, *CHECKS], args.timeout)
    if args.json:
        sys.stdout.write(as_json(found))
    else:
        _print(found, quiet=args.quiet)
    return _EXIT_WRONG if any(one.verdict is DoctorVerdict.WRONG for ones in found.values() for one in ones) else 0


def examined(
    environ: Mapping[str, str], cwd: Path, names: Sequence[str], timeout_s: float
) -> dict[str, Sequence[Diagnosis]]:
    """The findings of these checks. With wrong settings only they are looked at, and what needs none."""
    settings = examine(environ, cwd).settings
    found: dict[str, Sequence[Diagnosis]] = {}
    if SETTINGS in names or settings is None:
        found[SETTINGS] = _settings(environ, cwd)
    if settings is None:
        return found
    return found | run_checks(
        {name: CHECKS[name] for name in CHECKS if name in names}, Surroundings(settings, environ), timeout_s
    )


def run_checks(checks: Mapping[str, Check], here: Surroundings, timeout_s: float) -> dict[str, Sequence[Diagnosis]]:
    """Makes checks at once, each on a thread that nobody waits for longer than the timeout."""
    found: dict[str, Sequence[Diagnosis]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = check(here)
        except (StrettoError, OSError) as err:
            found[name] = [wrong(name, str(err) or type(err).__name__, "mend it, and run `stretto doctor` again")]
        except Exception as err:  # noqa: BLE001  whatever a check runs into, the others have something to say
            text = f"the check failed: {type(err).__name__}"
            found[name] = [warning(name, text, "please report it, with what `stretto doctor --json` prints")]

    threads = {name: threading.Thread(target=run, args=(name, check), daemon=True) for name, check in checks.items()}
    for thread in threads.values():
        thread.start()
    end_s = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.join(max(0.0, end_s - time.monotonic()))
    late = [wrong("time", f"no answer within {timeout_s:g} s", "see whether it is reachable, or raise --timeout")]
    known = dict(found)  # what comes later does not count
    return {name: known.get(name, late) for name in checks}


def _settings(environ: Mapping[str, str], cwd: Path) -> list[Diagnosis]:
    problems, warnings = check_settings(environ, cwd, files=True)
    found = [wrong("settings", str(one), "mend it; `stretto config check` says the same") for one in problems]
    found += [warning("settings", str(one), "remove the key") for one in warnings]
    return found or [ok("settings", "nothing is wrong")]


def as_json(found: Mapping[str, Sequence[Diagnosis]]) -> str:
    """The findings for machines."""
    rows = [
        {"check": name, "verdict": one.verdict, "subject": one.subject, "text": one.text, "advice": one.advice}
        for name, ones in found.items()
        for one in ones
    ]
    counts = Counter(row["verdict"] for row in rows)
    summary = {verdict.value: counts[verdict] for verdict in DoctorVerdict}
    return json.dumps({"summary": summary, "findings": rows}, indent=1, ensure_ascii=False) + "\n"


def _print(found: Mapping[str, Sequence[Diagnosis]], *, quiet: bool) -> None:
    counts: Counter[DoctorVerdict] = Counter()
    for name, ones in found.items():
        counts.update(one.verdict for one in ones)
        shown = [one for one in ones if not quiet or one.verdict is not DoctorVerdict.OK]
        if shown:
            sys.stdout.write(f"{name}\n")
        for one in shown:
            sys.stdout.write(f"  {one.verdict:<8} {one.subject}: {one.text}\n")
            if one.advice:
                sys.stdout.write(f"           → {one.advice}\n")
    sys.stdout.write(", ".join(f"{counts[verdict]} {verdict}" for verdict in DoctorVerdict) + "\n")
