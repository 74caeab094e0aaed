"""The search parameters of Tempo before TraceQL, `tags`, `minDuration` and `maxDuration`, as a TraceQL query."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from app.api.errors import ParameterError
from query.language import ast
from query.language.text import expression

OLD_PARAMETERS: Final = ("tags", "minDuration", "maxDuration")

# logfmt: key=value or key="value" with escapes, separated by blanks.
_PAIR: Final = re.compile(r'\s*([^\s="]+)=("(?:\\.|[^"\\])*"|[^\s"]*)(?=\s|$)', re.DOTALL)
# As Go's: of any number of digits, with a part before or behind the point.
_DURATION: Final = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_SHORT_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
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
        if text:
            conditions.append(f"traceDuration {op} {_duration(name, text)}")
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
        pairs.append((found[1], _unescaped(found[1], value[1:-1]) if value.startswith('"') else value))
        at = found.end()
    return pairs


def _unescaped(key: str, text: str) -> str:
    """A quoted value as it is meant; escapes are JSON's. Raises: ParameterError"""

    def character(escape: "re.Match[str]") -> str:
        code, word = escape[1], escape[2]
        if code is not None:
            return chr(int(code, 16))
        if word not in _ESCAPES:
            raise ParameterError(
                f"invalid tags: the value of {key[:40]} has the escape \\{word}; there are "
                '\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits'
            )
        return _ESCAPES[word]

    # Two halves of a surrogate pair are one character, and one alone is none.
    return _ESCAPE.sub(character, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _duration(name: str, text: str) -> str:
    """A duration as TraceQL has it. Raises: ParameterError"""
    if _DURATION.fullmatch(text) is None:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be a duration such as 100ms or 1.5s")
    total_ns = sum(Decimal(number) * _UNITS_NS[unit] for number, unit in _DURATION_PART.findall(text))
    if total_ns >= 2**63:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be less than 2^63 ns, which are 292 years")
    return text if _SHORT_DURATION.fullmatch(text) else f"{int(total_ns)}ns"


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
