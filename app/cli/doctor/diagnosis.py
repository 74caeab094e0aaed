"""What a check found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.settings import Settings


class DoctorVerdict(StrEnum):
    """OK: nothing to do. WARNING: it runs, and may fail later. WRONG: it does not work, or loses data"""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A line of the report. subject: what was looked at; text: what it means; advice: what to do, "" for nothing"""

    verdict: DoctorVerdict
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Diagnosis:
    """Nothing to do."""
    return Diagnosis(DoctorVerdict.OK, subject, text)


def warning(subject: str, text: str, advice: str) -> Diagnosis:
    """It runs, and may fail later."""
    return Diagnosis(DoctorVerdict.WARNING, subject, text, advice)


def wrong(subject: str, text: str, advice: str) -> Diagnosis:
    """It does not work."""
    return Diagnosis(DoctorVerdict.WRONG, subject, text, advice)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What checks look at. settings: those that hold"""

    settings: Settings
    environ: Mapping[str, str]


# Looks at something, on a thread of its own. May raise: then that is the finding.
Check = Callable[[Surroundings], Sequence[Diagnosis]]
