"""Which settings differ between two readings, and what of them can change while a process runs."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from app.settings.base import Section
from app.settings.keys import Key, dotted, leaves
from app.settings.models import Settings
from app.settings.problems import error, from_validation

S = TypeVar("S", bound=Section)

# What a running process can change; below a key everything.
LIVE: Final[tuple[Key, ...]] = (
    ("log_level",),
    ("overrides", "defaults"),
    ("overrides", "per_tenant_override_config"),
    ("overrides", "per_tenant_override_period_s"),
    ("query_frontend", "allow_partial"),
    ("query_frontend", "search"),
    ("query_frontend", "metrics"),
    ("query_frontend", "trace_by_id"),
)


def changed(before: Settings, after: Settings) -> list[Key]:
    """The settings that differ, in the order of the file."""
    return [key for key in leaves() if _said(before, key) != _said(after, key)]


def is_live(key: Key) -> bool:
    """Whether a running process can change the setting."""
    return any(key[: len(live)] == live for live in LIVE)


def with_live(running: Settings, after: Settings) -> Settings:
    """The settings of a running process, with what can change taken from a new reading.

    Raises: SettingsError if they do not fit each other, because one that belongs to them needs a restart
    """
    found = running
    for key in LIVE:
        found = _replaced(found, key, _at(after, key))
    try:
        return Settings.model_validate(dict(found))
    except ValidationError as failed:
        raise error(from_validation(failed, {}, frozenset())) from None


def names(keys: Sequence[Key]) -> str:
    """Keys as text, separated by commas."""
    return ", ".join(map(dotted, keys))


def _at(section: Any, key: Key) -> Any:
    for part in key:
        section = getattr(section, str(part))
    return section


def _said(settings: Settings, key: Key) -> tuple[bool, Any]:
    """The value, and whether somebody has set it: in overrides that is a difference."""
    above = _at(settings, key[:-1])
    return key[:2] == ("overrides", "defaults") and key[-1] in above.model_fields_set, _at(settings, key)


def _replaced(section: S, key: Key, value: Any) -> S:
    name, *below = (str(part) for part in key)
    if below:
        value = _replaced(getattr(section, name), tuple(below), value)
    return section.model_copy(update={name: value})
