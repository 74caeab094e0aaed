"""The search parameters of Tempo before TraceQL, `tags`, `minDuration` and `maxDuration`, as a TraceQL query."""

import re
from collections.abc import Mapping
from typing import Final

from app.api.errors import ParameterError
from query.language import ast
from query.language.text import expression

OLD_PARAMETERS: Final = ("tags", "minDuration", "maxDuration")

# logfmt: key=value or key="value" with escapes, separated by blanks.
_PAIR: Final = re.compile(r'\s*([^\s="]+)=("(?:\\.|[^"\\])*"|[^\s"]*)(?=\s|$)', re.DOTALL)
_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{0,9})?(?:ns|us|µs|μs|ms|s|m|h))+")
_NUMBER: Final = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?")
_TAGS_MAX: Final = 100
_INTRINSICS: Final = {"name": "name", "root.name": "rootName", "root.service.name": "rootServiceName"}


def old_query(params: Mapping[str, str]) -> str:
    """`tags=service.name=a name="b"&minDuration=1s` → `{ .service.name = "a" && name = "b" && traceDuration >= 1s }`.

    Out: "" where none of the parameters is there. Raises: ParameterError
    """
    conditions = [_condition(key, value) for key, value in _pairs(params.get("tags", ""))]
    for name, op in (("minDuration", ">="), ("maxDuration", "<=")):
        text = params.get(name, "").strip()
        if text and _DURATION.fullmatch(text) is None:
            raise ParameterError(f"invalid {name} {text[:40]!r}: must be a duration such as 100ms or 1.5s")
        if text:
            conditions.append(f"traceDuration {op} {text}")
    return f"{{ {' && '.join(conditions)} }}" if conditions else ""


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise ParameterError(
                f"invalid tags at character {at + 1}, {text[at : at + 40]!r}: must be logfmt, as "
                'service.name=checkout name="orders publish"'
            )
        value = found[2]
        if len(pairs) >= _TAGS_MAX:
            raise ParameterError(f"invalid tags: more than {_TAGS_MAX} of them")
        pairs.append((found[1], re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value))
        at = found.end()
    return pairs


def _condition(key: str, value: str) -> str:
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if key in _INTRINSICS:
        return f'{_INTRINSICS[key]} = "{text}"'
    if key == "error" and value in {"true", "false"}:
        return f"status {'=' if value == 'true' else '!='} error"
    if key in {"status", "status.code"} and value in {"error", "ok", "unset"}:
        return f"status = {value}"
    field = expression(ast.Attribute(None, key))
    # The text does not tell a string from a number or a truth value.
    if _NUMBER.fullmatch(value) or value in {"true", "false"}:
        return f'({field} = "{text}" || {field} = {value})'
    return f'{field} = "{text}"'
