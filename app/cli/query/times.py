"""Times on a command line: mostly relative ones."""

import re
import time
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Final

from tables.units import NS_PER_S

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"(?:[0-9]{1,6}[smhdw])+")
_NOW: Final = re.compile(r"now(?:-(?P<back>.+))?")


def duration_s(text: str) -> int:
    """Seconds from `90s`, `1h30m`, `2d`. Raises: ArgumentTypeError"""
    if _DURATION.fullmatch(text) is None:
        raise ArgumentTypeError(f"{text!r}: expected a duration such as 30m, 1h30m or 2d")
    return sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))


def moment_s(text: str) -> int:
    """Unix seconds from `now`, `now-1h`, unix seconds, or RFC 3339 (local time without a zone). Raises:
    ArgumentTypeError
    """
    if found := _NOW.fullmatch(text):
        return int(time.time()) - (duration_s(found["back"]) if found["back"] else 0)
    if re.fullmatch(r"[0-9]{1,10}", text):
        return int(text)
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError) as err:
        raise ArgumentTypeError(f"{text!r}: expected now-1h, unix seconds, or a time as 2026-11-21T15:04:05Z") from err


def shown_time(time_ns: int) -> str:
    """A time as UTC text with milliseconds."""
    seconds, rest = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"


def shown_duration(duration_ns: int) -> str:
    """A duration with three digits and a unit: `1.25s`, `74ms`, `3.1µs`."""
    for unit, size in (("s", NS_PER_S), ("ms", 1_000_000), ("µs", 1000)):
        if abs(duration_ns) >= size:
            value = duration_ns / size
            return f"{value:.0f}{unit}" if abs(value) >= 100 else f"{value:.3g}{unit}"
    return f"{duration_ns}ns"
