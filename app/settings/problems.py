"""Errors in settings: what is wrong and where, in one line each."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from app.errors import SettingsError
from app.settings.base import Section
from app.settings.keys import Key, closest, dotted, expected, field_at, is_secret, nearest, not_supported
from app.settings.models import Settings

_SHOWN_MAX = 60  # characters of a wrong value


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """The origin of a value: a line of the file (from 1), or an environment variable (line 0)."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else f"variable {self.name}"


@dataclass(frozen=True, slots=True)
class Problem:
    place: Location | None  # None: a default
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each once: those of files by line, then those of the environment."""

    def order(problem: Problem) -> tuple[bool, int, str]:
        place = problem.place
        return (place is None or not place.line, place.line if place else 0, str(problem))

    # A set: an alias in the file puts one fault at several keys, but also one line twice.
    return sorted(set(problems), key=order)


def error(problems: Iterable[Problem]) -> SettingsError:
    """One error with all problems."""
    return SettingsError("\n".join(map(str, in_order(problems))))


def show(value: Any) -> str:
    """A wrong value for an error message: its kind and its beginning, without possible passwords."""
    if isinstance(value, str):
        text = re.sub(r"^([\w+.-]+://)?.*@", r"\1***@", value, flags=re.DOTALL)
        return f"the text {text[:_SHOWN_MAX]!r}{'…' if len(text) > _SHOWN_MAX else ''}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "an empty list" if not value else "a list"
    return "a mapping" if isinstance(value, Mapping) else f"the number {value}"


def from_validation(
    failed: ValidationError,
    places: Mapping[Key, Location],
    skip: frozenset[Key],
    root: type[Section] = Settings,
    above: Key = (),
) -> list[Problem]:
    """Pydantic's errors in our words. Keys in `skip` already have a problem.

    root: the model that failed; above: the position of its keys in the file

    Errors of an unknown key stay even for keys in `skip`: both may be wrong.
    """
    problems = []
    for item in failed.errors(include_url=False):
        key, kind = (*above, *item["loc"]), item["type"]
        place = _place(key, places)
        if kind == "conflict":
            section, other = key, item["ctx"]["other"]
            key = (*section, *item["ctx"]["key"].split("."))
            place = places.get(key) or places.get((*section, *other.split("."))) or _place(key, places)
        if kind != "extra_forbidden" and any(key[:end] in skip for end in range(len(key) + 1)):
            continue
        problems.append(Problem(place, f"{dotted(key)}: {_explain(key[len(above) :], kind, item, root)}"))
    return problems


def _place(key: Key, places: Mapping[Key, Location]) -> Location | None:
    # A key that is not set (a default in conflict with another setting) has the location of its section.
    return next((places[key[:end]] for end in range(len(key), 0, -1) if key[:end] in places), None)


def _explain(key: Key, kind: str, item: Any, root: type[Section]) -> str:
    if kind == "extra_forbidden":
        if text := not_supported(key, root):
            return text
        return f"unknown key; the nearest known key is {nearest(key, root)}"
    if kind == "conflict":
        return str(item["ctx"]["text"])
    value, field = item["input"], field_at(key, root)
    if kind == "missing":
        return f"is not set; expected {expected(field) if field else 'a value'}"
    got = "a value that is not shown" if is_secret(key, root) and value is not None else show(value)
    if field and field.annotation in (str, SecretStr) and isinstance(value, int | float):
        got += "; put it in quotes"
    if kind == "value_error":
        return f"{item['ctx']['error']}; got {got}"
    if field is None:  # an item of a list
        parent = field_at(key[:-1], root)
        section = parent is not None and "{" in expected(parent)
        return f"expected {'a mapping' if section else 'text'}; got {got}"
    if kind == "literal_error" and isinstance(value, str):
        near = closest(value, get_args(field.annotation))
        return f"expected {expected(field)}; got {got}, the nearest is {near}"
    return f"expected {expected(field)}; got {got}"
