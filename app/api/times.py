"""Time ranges and steps of metrics queries: text → nanoseconds."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from app.api.errors import ParameterError
from query.language.words import duration_ns
from tables.units import NS_PER_S

INT64_MAX: Final = 2**63 - 1

SAMPLES_MAX: Final = 10_000  # of one series: Tempo's limit
SINCE_NS: Final = 3600 * NS_PER_S  # the range where none is given

# The default step is Tempo's: about that many samples, in whole multiples of the greatest unit that is less than it.
_SAMPLES_DEFAULT: Final = 240
_STEP_UNITS_NS: Final = (3600 * NS_PER_S, 300 * NS_PER_S, 60 * NS_PER_S, 15 * NS_PER_S, 5 * NS_PER_S, NS_PER_S)
_SHORT_RANGE_NS: Final = 60 * NS_PER_S
_SHORT_RANGE_UNIT_NS: Final = NS_PER_S // 20

_DURATION: Final = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:ns|us|µs|μs|ms|s|m|h|d))+")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,9})?")
_TEXT_CHARS_MAX: Final = 64
# Unix seconds have ten digits until the year 2286, nanoseconds more.
_SECONDS_DIGITS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class TimeRange:
    """start before end, both in ns since 1970."""

    start_ns: int
    end_ns: int


def time_range(
    params: Mapping[str, str], range_s_max: int = 0, setting: str = "query_frontend.metrics.max_duration_s"
) -> TimeRange:
    """`start` and `end`, or `since` before `end`; by default the last hour. Raises: ParameterError

    range_s_max: 0: none; setting: its name
    """
    since_ns = length_ns(params, "since")
    start_ns, end_ns = moment_ns(params, "start"), moment_ns(params, "end")
    if end_ns is None:
        end_ns = time.time_ns()
    if start_ns is None:
        start_ns = max(0, end_ns - (SINCE_NS if since_ns is None else since_ns))
    if start_ns >= end_ns:
        raise ParameterError(
            f"start must be before end: got start={params.get('start', '')[:40]} end={params.get('end', '')[:40]}"
        )
    if range_s_max and end_ns - start_ns > range_s_max * NS_PER_S:
        raise ParameterError(
            f"start and end are {(end_ns - start_ns) / NS_PER_S:.0f} s apart; the setting {setting} allows "
            f"{range_s_max} s"
        )
    return TimeRange(start_ns, end_ns)


def step_ns(params: Mapping[str, str], times: TimeRange) -> int:
    """`step`, as a duration or in seconds; by default one that fits the range. Raises: ParameterError"""
    range_ns = times.end_ns - times.start_ns
    step = length_ns(params, "step", seconds=True)
    if step is None:
        return default_step_ns(range_ns)
    least_ns = max(1, range_ns // SAMPLES_MAX)
    if step < least_ns:
        raise ParameterError(
            f"step of {step / NS_PER_S:g}s is too small: at least {least_ns / NS_PER_S:g}s for this range "
            f"({SAMPLES_MAX} samples)"
        )
    return step


def default_step_ns(range_ns: int) -> int:
    """At least 1 s from one minute on, at least 50 ms below."""
    step = range_ns // _SAMPLES_DEFAULT
    units = (_SHORT_RANGE_UNIT_NS,) if range_ns < _SHORT_RANGE_NS else _STEP_UNITS_NS
    unit = next((unit for unit in units if step > unit), units[-1])
    return max(unit, step // unit * unit)


def moment_ns(params: Mapping[str, str], name: str) -> int | None:
    """Unix seconds, with or without a fraction; nanoseconds; RFC 3339. Missing, empty or 0: None."""
    text = params.get(name, "").strip()
    if _NUMBER.fullmatch(text):
        number = Decimal(text) if "." in text else int(text)
        seconds = "." in text or len(text) <= _SECONDS_DIGITS_MAX
        value = int(number * NS_PER_S) if seconds else int(number)
        if value <= INT64_MAX:
            return value or None
    elif not text:
        return None
    elif len(text) <= _TEXT_CHARS_MAX and (value_ns := _rfc3339(text)) is not None:
        return value_ns
    raise ParameterError(f"invalid {name} {text[:40]!r}: must be unix seconds, unix nanoseconds or RFC 3339")


def _rfc3339(text: str) -> int | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    value_ns = int(when.timestamp()) * NS_PER_S + when.microsecond * 1000
    return value_ns if 0 <= value_ns <= INT64_MAX else None


def length_ns(params: Mapping[str, str], name: str, *, seconds: bool = False) -> int | None:
    """In ns; None where it is missing or empty. seconds: a number alone is one of seconds."""
    text = params.get(name, "").strip()
    if not text:
        return None
    value = -1
    if len(text) <= _TEXT_CHARS_MAX:
        if _DURATION.fullmatch(text):
            value = duration_ns(text)
        elif seconds and _NUMBER.fullmatch(text):
            value = int(Decimal(text) * NS_PER_S)
    if not 0 <= value <= INT64_MAX:
        raise ParameterError(
            f"invalid {name} {text[:40]!r}: must be a duration such as 10s or 1h30m{', or seconds' if seconds else ''}"
        )
    return value
