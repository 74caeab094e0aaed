"""Loads the settings: the file, then the environment, then the models → one immutable `Settings`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from app.settings.base import Section
from app.settings.document import Document, Text, plain, read
from app.settings.environment import CONFIG, Override, overrides
from app.settings.keys import is_list, is_mapping, section_of
from app.settings.models import Settings
from app.settings.problems import Location, Problem, error, from_validation
from app.settings.tenants.overrides import Overrides
from app.settings.tenants.tempo_overrides import convert_in, is_flat

log = logging.getLogger(__name__)

DEFAULT_FILE: Final = "stretto.yaml"
_DEFAULTS: Final = ("overrides", "defaults")

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Examined:
    """What the settings are, or all that is wrong with them. settings: None if there are problems

    warnings: keys of Tempo that have no effect here
    """

    settings: Settings | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def load(environ: Mapping[str, str], cwd: Path) -> Settings:
    """The effective settings: defaults, then the file, then `environ`.

    The file is STRETTO_CONFIG, or else stretto.yaml in `cwd`, if it exists. Relative paths start at `cwd`.
    Raises: SettingsError, which names all problems
    """
    found = examine(environ, cwd)
    for warning in found.warnings:
        log.warning("%s", warning)
    if found.settings is None:
        raise error(found.problems)
    return found.settings


def examine(environ: Mapping[str, str], cwd: Path) -> Examined:
    """As `load`, with all problems and warnings instead of an exception and log lines."""
    document = _file(environ, cwd)
    found, problems = overrides(environ)
    problems += document.problems
    if not document.readable:
        return Examined(problems=problems)
    _move_flat_defaults(document)
    wrong, without_effect = convert_in(document, _DEFAULTS)
    problems += wrong
    for override in found:
        _set(document, override)
    try:
        settings = Settings.model_validate(settle(document.tree, Settings))
    except ValidationError as failed:
        problems += from_validation(failed, document.places, frozenset(document.unsure))
        return Examined(problems=problems, warnings=without_effect)
    if problems:
        return Examined(problems=problems, warnings=without_effect)
    return Examined(_anchored(settings, cwd), warnings=without_effect)


def _move_flat_defaults(document: Document) -> None:
    """Tempo's old format has the defaults in the section itself."""
    section = document.tree.get(_DEFAULTS[0])
    if not isinstance(section, dict):
        return
    flat = [name for name in section if is_flat(name) and name not in Overrides.model_fields]
    defaults = section.setdefault(_DEFAULTS[1], {}) if flat else None
    if not isinstance(defaults, dict):
        return
    for name in flat:
        defaults[name] = section.pop(name)
        for key in [key for key in document.places if key[:2] == (_DEFAULTS[0], name)]:
            document.places[(*_DEFAULTS, *key[1:])] = document.places[key]
    document.places.setdefault(_DEFAULTS, document.places[(_DEFAULTS[0],)])


def _file(environ: Mapping[str, str], cwd: Path) -> Document:
    name = environ.get(CONFIG) or DEFAULT_FILE
    path = cwd / name
    if not environ.get(CONFIG) and not path.exists():
        return Document()
    try:
        return read(path.read_text(encoding="utf-8-sig"), name, environ)
    except OSError as wrong:
        said = (
            f"{name}: the settings file cannot be read: {wrong.strerror or wrong}; {CONFIG} names it, "
            f"or it is {DEFAULT_FILE} in the working directory"
        )
        return Document(problems=[Problem(None, said)], readable=False)
    except UnicodeDecodeError as wrong:
        line = wrong.object.count(b"\n", 0, wrong.start) + 1
        said = "not UTF-8 text; save the file as UTF-8"
        return Document(problems=[Problem(Location(name, line), said)], readable=False)


def _set(document: Document, override: Override) -> None:
    *above, last = override.key
    at: Any = document.tree
    for name in above:
        if at.get(name) is None:  # not there, or a section without keys
            at[name] = {}
        at = at[name]
        if not isinstance(at, dict):
            return  # the file has a value where a section belongs: validation says so
    at[last] = override.value
    # This replaces the file's value. A missing variable in it stays a problem: the next start may need it.
    inside = len(override.key)
    for key in [key for key in document.places if key[:inside] == override.key]:
        del document.places[key]
    document.places[override.key] = override.place
    document.unsure = {key for key in document.unsure if key[:inside] != override.key}


def settle(value: Any, model: type[Section]) -> Any:
    """A mapping in which each Text has the type of its setting, and sections without keys are empty."""
    if not isinstance(value, dict):
        return value
    settled = {}
    for name, item in value.items():
        field = model.model_fields.get(name)
        settled[name] = _settle_field(item, field.annotation) if field else item
    return settled


def _settle_field(value: Any, annotation: Any) -> Any:
    section = section_of(annotation)
    if is_mapping(annotation):
        return {name: _text(item) for name, item in value.items()} if isinstance(value, dict) else _text(value)
    if is_list(annotation):
        if isinstance(value, Text) and (section or value.lstrip().startswith("[")):
            value = plain(value)
        if isinstance(value, list):
            return [settle(item, section) if section else _text(item) for item in value]
        return _text(value)
    if section:
        return {} if value is None else settle(value, section)
    if isinstance(value, Text) and annotation in (int, float, bool):
        number = plain(value)
        return number if isinstance(number, int | float) else str(value)
    return _text(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Text) else value


def _anchored(settings: Settings, cwd: Path) -> Settings:
    """The settings with absolute paths: relative ones below `cwd`, and the blocks below the data directory by
    default.
    """
    local = settings.storage.trace.local
    data_dir = cwd / settings.data_dir
    path = cwd / local.path if "path" in local.model_fields_set else data_dir / "blocks"
    return _replace(_replace(settings, ("data_dir",), data_dir), ("storage", "trace", "local", "path"), path)


def _replace(section: S, key: Sequence[str], value: Any) -> S:
    name, *below = key
    if below:
        value = _replace(getattr(section, name), below, value)
    return section.model_copy(update={name: value})
