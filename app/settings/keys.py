"""The known keys, from the models: their names, what they accept, and the nearest key to a wrong one."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings.base import Section
from app.settings.models import Settings
from app.settings.values import Words

# The position of a value: keys of mappings, indices of lists.
Key = tuple[str | int, ...]

VARIABLE_PREFIX: Final = "STRETTO_"
_NAMES_MAX: Final = 3  # keys of a list's item that an error names


def dotted(key: Key) -> str:
    """A key as text, such as `metrics_generator.storage.remote_write[0].url`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def variable(key: Key) -> str:
    """The environment variable of a setting, such as STRETTO_SERVER__HTTP_LISTEN_PORT."""
    return VARIABLE_PREFIX + "__".join(str(part) for part in key).upper()


def section_of(annotation: Any) -> type[Section] | None:
    """The model of a field that is a section or a list of sections; else None."""
    inner = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def is_mapping(annotation: Any) -> bool:
    """Whether the field is a mapping whose keys the user chooses."""
    return get_origin(annotation) is dict


@cache
def fields(root: type[Section] = Settings) -> Mapping[Key, FieldInfo]:
    """Every setting and section, in the order of the file, without items of lists."""
    return MappingProxyType(dict(_walk(root, ())))


def _walk(model: type[Section], above: Key) -> Iterable[tuple[Key, FieldInfo]]:
    for name, field in model.model_fields.items():
        key = (*above, name)
        yield key, field
        if (section := section_of(field.annotation)) and not is_list(field.annotation):
            yield from _walk(section, key)


def leaves_of(model: type[Section]) -> Mapping[Key, FieldInfo]:
    """The settings of a list's item."""
    return {key: field for key, field in _walk(model, ()) if not _is_section(field)}


@cache
def leaves() -> Mapping[Key, FieldInfo]:
    """The settings without sections: everything that an environment variable can set."""
    sections = {key for key, field in fields().items() if _is_section(field)}
    return MappingProxyType({key: field for key, field in fields().items() if key not in sections})


def _is_section(field: FieldInfo) -> bool:
    return section_of(field.annotation) is not None and not is_list(field.annotation)


def field_at(key: Key, root: type[Section] = Settings) -> FieldInfo | None:
    """The field of a key, also of one within a list; None for a list's item, or an unknown key."""
    model: type[Section] | None = root
    field = None
    for part in key:
        if isinstance(part, int):
            field = None
            continue
        field = model.model_fields.get(part) if model else None
        if field is None:
            return None
        model = section_of(field.annotation)
    return field


def not_supported(key: Key, root: type[Section] = Settings) -> str:
    """Why a setting of Tempo is none here, where somebody may bring it along; "" for any other unknown key."""
    section = section_of(field.annotation) if (field := field_at(key[:-1], root)) else None
    return section.not_supported.get(str(key[-1]), "") if section else ""


def is_secret(key: Key, root: type[Section] = Settings) -> bool:
    """Whether the value at the key, or the mapping that contains it, is secret."""
    found = (field_at(key, root), field_at(key[:-1], root))
    return any(field is not None and SecretStr in (field.annotation, *get_args(field.annotation)) for field in found)


def nearest(key: Key, root: type[Section] = Settings) -> str:
    """The known key that `key` most likely means, dotted.

    Tries keys of the same section, then the same name elsewhere, then the most similar of all.
    """
    name, above = str(key[-1]).lower(), key[:-1]
    siblings = {str(known[-1]): known for known in fields(root) if known[:-1] == above}
    if close := get_close_matches(name, siblings, n=1, cutoff=0.6):
        return dotted(siblings[close[0]])
    if namesakes := [known for known in fields(root) if known[-1] == name]:
        return dotted(namesakes[0])
    # In a list of sections, the known names come from the item's model.
    field = next((field for end in range(len(key), 0, -1) if (field := field_at(key[:end], root))), None)
    if field and is_list(field.annotation) and (section := section_of(field.annotation)):
        return dotted((*above, closest(name, section.model_fields)))
    return closest(dotted(key).lower(), [dotted(known) for known in fields(root)])


def closest(text: str, known: Iterable[str]) -> str:
    """The most similar of `known`, even if it is not very similar."""
    return get_close_matches(text, known, n=1, cutoff=0.0)[0]


_TYPES: Final[Mapping[Any, str]] = MappingProxyType(
    {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "text",
        SecretStr: "text",
        Path: "a path",
    }
)


def expected(field: FieldInfo) -> str:
    """A description of the accepted values: `an integer from 1 to 65535`."""
    annotation = field.annotation
    section = section_of(annotation)
    if is_mapping(annotation):
        return next(item.text for item in field.metadata if isinstance(item, Words))
    if is_list(annotation):
        if not section:
            return "a list, or text with commas"
        names = list(section.model_fields)
        return f"a list of {{{', '.join(names[:_NAMES_MAX])}{': …' if len(names) <= _NAMES_MAX else ', …'}}}"
    if section:
        return "a mapping"
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    limits: dict[str, Any] = {}
    for item in field.metadata:
        if isinstance(item, Words):
            return item.text
        limits |= {name: found for name in ("ge", "gt", "le") if (found := getattr(item, name, None)) is not None}
    if "gt" in limits:
        return f"{_TYPES[annotation]} above {limits['gt']}, at most {limits['le']}"
    return _TYPES[annotation] + (f" from {limits['ge']} to {limits['le']}" if limits else "")
