"""Settings as text: YAML for `stretto config`, a table for docs/settings.md."""

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr

from app.settings.base import Section
from app.settings.keys import dotted, expected, is_list, leaves, section_of
from app.settings.models import Settings
from app.settings.values import mask

MASK: Final = "***"


def to_yaml(settings: Settings, *, masked: bool = True) -> str:
    """The settings as a file that `load` reads. With `masked`, secrets and users in URLs are shown as ***."""
    tree = _plain(settings, masked=masked)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16)


class _Dumper(yaml.SafeDumper):
    """PyYAML with one fault mended: it writes U+0085 and the like as they are, and reads them as line breaks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _plain(value: Any, *, masked: bool) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name), masked=masked) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return [_plain(item, masked=masked) for item in value]
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


def table() -> str:
    """All settings as a Markdown table, for docs/settings.md."""
    lines = ["| Setting | Expected | Default | What it is |", "|---|---|---|---|"]
    for key, field in leaves().items():
        default = _plain(field.default, masked=True)
        words = "" if default in ("", []) else f"`{yaml.safe_dump(default, default_flow_style=True).split(chr(10))[0]}`"
        lines.append(f"| `{dotted(key)}` | {expected(field)} | {words} | {field.description} |")
        item = section_of(field.annotation) if is_list(field.annotation) else None
        lines += _item_rows(dotted(key), item) if item else []
    return "\n".join(lines) + "\n"


def _item_rows(above: str, section: type[Section]) -> list[str]:
    return [
        f"| `{above}[].{name}` | {expected(field)} | | {field.description} |"
        for name, field in section.model_fields.items()
    ]
