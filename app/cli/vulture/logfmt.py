"""Lines of logfmt: key=value, in quotes where a value needs them."""

import re
from typing import Any, Final

_PLAIN: Final = re.compile(r"[^\s\"=\\]+")


def line(msg: str, **fields: Any) -> str:
    """A line with a message and fields; those that are "" are left out. Never holds a line break."""
    pairs = {"msg": msg, **{name: str(value) for name, value in fields.items()}}
    return " ".join(f"{name}={_quoted(text)}" for name, text in pairs.items() if text)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.isprintable():
        return text
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text.replace("\\", "\\\\"))
    return '"' + shown.replace('"', '\\"') + '"'
