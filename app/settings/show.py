"""Settings as text: YAML for `stretto config`, a table for docs/settings.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from app.settings.keys import dotted, expected, is_list, leaves, leaves_of, section_of
from app.settings.models import Settings
from app.settings.tenants.overrides import TenantOverrides
from app.settings.values import duration_text, mask

MASK: Final = "***"


def to_yaml(settings: Settings, *, masked: bool = True) -> str:
    """The settings as a file that `load` reads. With `masked`, secrets and users in URLs are shown as ***."""
    tree = _plain(settings, masked=masked)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


def tree_yaml(tree: Mapping[str, Any]) -> str:
    """Plain values as a settings file. Variables in them stay variables."""
    return yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


class _Dumper(yaml.SafeDumper):
    """PyYAML with a fix: it writes U+0085 and similar characters as they are, but reads them as line breaks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(str, lambda dumper, text: _represent_text(dumper, str(text)))  # that of a variable


def _plain(value: Any, *, masked: bool, only_set: bool = False) -> Any:
    """A value as plain YAML types. only_set: omit unset fields, because they do not mean their default"""
    if isinstance(value, BaseModel):
        only_set = only_set or isinstance(value, TenantOverrides)
        names = [name for name in type(value).model_fields if not only_set or name in value.model_fields_set]
        return {name: _plain(getattr(value, name), masked=masked, only_set=only_set) for name in names}
    if isinstance(value, tuple):
        return [_plain(item, masked=masked, only_set=only_set) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, masked=masked) for name, item in value.items()}
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return MASK if masked and secret else _plain(secret, masked=False)
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        # What looks like a variable must come back as it is.
        return (mask(value) if masked else value).replace("${", "$${")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def changed_yaml(settings: Settings) -> str:
    """The settings that differ from their defaults, with secrets masked."""
    changed = _changed(_plain(settings, masked=True), _plain(Settings(), masked=True))
    return yaml.dump(changed, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


def overrides_yaml(tenants: Mapping[str, BaseModel]) -> str:
    """The overrides of single tenants, in the format of the overrides file."""
    tree = {name: entry.model_dump(mode="json", exclude_unset=True) for name, entry in tenants.items()}
    return yaml.dump({"overrides": tree}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


def entry_yaml(entry: BaseModel) -> str:
    """What is set in the overrides of one tenant."""
    tree = entry.model_dump(mode="json", exclude_unset=True)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


def _changed(tree: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict) and isinstance(default.get(name), dict):
            value = _changed(value, default[name])
            if not value:
                continue
        elif value == default.get(name):
            continue
        found[name] = value
    return found


def table() -> str:
    """All settings as a Markdown table for docs/settings.md."""
    lines = ["| Setting | Expected | Default | Description |", "|---|---|---|---|"]
    for key, field in leaves().items():
        lines += _rows(dotted(key), field)
    return "\n".join(lines) + "\n"


def _rows(name: str, field: FieldInfo) -> list[str]:
    """A setting's row; for a list of sections, also one row per setting of an item."""
    default = None if field.is_required() else _plain(field.default, masked=True)
    if field.annotation is float and "duration" in expected(field):
        default = duration_text(field.default)
    shown = default not in (None, "", [], {})
    words = f"`{yaml.safe_dump(default, default_flow_style=True).split(chr(10))[0]}`" if shown else ""
    rows = [f"| `{name}` | {expected(field)} | {words} | {field.description} |"]
    item = section_of(field.annotation) if is_list(field.annotation) else None
    for key, inner in (leaves_of(item) if item else {}).items():
        rows += _rows(f"{name}[].{dotted(key)}", inner)
    return rows
