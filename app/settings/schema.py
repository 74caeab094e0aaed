"""JSON schemas of the settings file and the overrides file, from the models: for editors.

They say what a file written by hand in our own names may hold. Tempo's spellings of overrides, which the reader takes,
too, are not in them: an editor should suggest one name for one thing.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from app.settings.base import Section
from app.settings.keys import expected, is_list, is_mapping, section_of
from app.settings.models import Settings
from app.settings.tenants.overrides import TenantOverrides
from app.settings.values import DURATION_PATTERN, Words, duration_text

Json = dict[str, Any]

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"  # what editors know best
# Where a number or a choice belongs, a variable may stand, too. A pattern counts for texts only, limits for numbers.
_VARIABLE: Final = r"\$\{"
_LIMITS: Final = (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum"), ("lt", "exclusiveMaximum"))
_NAMES: Final[dict[Any, str]] = {
    **dict.fromkeys((str, Path, SecretStr), "string"),
    int: "integer",
    float: "number",
    bool: "boolean",
}


def settings_schema() -> Json:
    """The schema of stretto.yaml."""
    return {
        "$schema": _DIALECT,
        "title": "Settings of Stretto",
        "description": "See docs/settings.md. `stretto config check` also sees what a schema cannot say.",
        **_section(Settings),
    }


def overrides_schema() -> Json:
    """The schema of the file that `overrides.per_tenant_override_config` names."""
    entry = _or_nothing(_section(TenantOverrides))
    return {
        "$schema": _DIALECT,
        "title": "Overrides of single tenants for Stretto",
        "description": "A key for each tenant; `*` stands for all that have no entry.",
        "type": "object",
        "properties": {"overrides": _or_nothing({"type": "object", "additionalProperties": entry})},
        "additionalProperties": False,
    }


def schema_text(schema: Json) -> str:
    """A schema as it is printed."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _section(model: type[Section]) -> Json:
    found: Json = {
        "type": "object",
        "properties": {name: _described(field) for name, field in model.model_fields.items()},
        "additionalProperties": False,
    }
    if needed := [name for name, field in model.model_fields.items() if field.is_required()]:
        found["required"] = needed
    if model.__doc__ and model.__doc__ != Section.__doc__:
        found["description"] = " ".join(model.__doc__.split())
    return found


def _or_nothing(schema: Json) -> Json:
    """A section may have no keys: `server:`."""
    return {**schema, "type": [schema["type"], "null"]}


def _described(field: FieldInfo) -> Json:
    section = section_of(field.annotation)
    if section is not None and not is_list(field.annotation):
        inner = _section(section)
        # The item of a list must have its keys; a section of the file has defaults for all.
        found = inner if "required" in inner else _or_nothing(inner)
    else:
        found = _value(field)
    if field.description:
        found = {**found, "description": field.description}
    default = _plain(field.default) if not field.is_required() and section is None else None
    if default not in (None, "", [], {}):
        found["default"] = duration_text(default) if _is_duration(field) else default
    return found


def _value(field: FieldInfo) -> Json:
    annotation = field.annotation
    if is_mapping(annotation):
        # `name=value` with commas between; or a label that is left out.
        values: Json = {"type": ["string", "number", "boolean", "null"]}
        return {"type": ["object", "string"], "additionalProperties": values}
    if is_list(annotation):
        section = section_of(annotation)
        items = _section(section) if section else _item(get_args(annotation)[0])
        least = next((item.min_length for item in field.metadata if getattr(item, "min_length", None)), None)
        found: Json = {"type": ["array", "string"], "items": items, **({"minItems": least} if least else {})}
        # Text with commas, or YAML in a variable.
        return {**found, "pattern": _VARIABLE} if section else found
    if get_origin(annotation) is Literal:
        return _choice(annotation)
    kind = _NAMES[annotation]
    if kind == "string":
        return _text(field)
    pattern = _VARIABLE
    if _is_duration(field):
        pattern = f"{DURATION_PATTERN}|{_VARIABLE}"
    elif _words(field).startswith("auto"):
        pattern = f"^auto$|{_VARIABLE}"
    return {"type": [kind, "string"], **_limits(field), "pattern": pattern}


def _choice(annotation: Any) -> Json:
    return {"anyOf": [{"enum": list(get_args(annotation))}, {"type": "string", "pattern": _VARIABLE}]}


def _words(field: FieldInfo) -> str:
    return next((item.text for item in field.metadata if isinstance(item, Words)), "")


def _text(field: FieldInfo) -> Json:
    found: Json = {"type": "string"}
    for item in field.metadata:
        if pattern := getattr(item, "pattern", None):
            found["pattern"] = f"(?:{pattern})|{_VARIABLE}"
        if least := getattr(item, "min_length", None):
            found["minLength"] = least
    return found


def _limits(field: FieldInfo) -> Json:
    return {
        name: limit
        for item in field.metadata
        for attribute, name in _LIMITS
        if (limit := getattr(item, attribute, None)) is not None
    }


def _is_duration(field: FieldInfo) -> bool:
    return field.annotation is float and "duration" in expected(field)


def _item(annotation: Any) -> Json:
    """What stands in a list of plain values; types of ours are Annotated."""
    while get_origin(annotation) is not None and not isinstance(annotation, type) and hasattr(annotation, "__origin__"):
        if get_origin(annotation) is Literal:
            return _choice(annotation)
        annotation = annotation.__origin__
    if annotation is float:
        return {"type": "number"}
    return {"type": "string"}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel | SecretStr):
        return None
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path) else value
