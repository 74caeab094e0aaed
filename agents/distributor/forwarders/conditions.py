"""Conditions of forwarders: the part of OTTL that filters spans by their own fields. Text → tree.

Source: the OpenTelemetry Transformation Language, context `span`. Conditions that use more are refused, and the error
says where.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Literals = str | int | float | bool | None

_TEXT_CHARS_MAX: Final = 10_000
_GRAMMAR: Final = r"""
    ?start: either
    ?either: both ("or" both)*
    ?both: negation ("and" negation)*
    ?negation: "not" negation -> negated | primary
    ?primary: "(" either ")" | comparison | matching
    comparison: path OPERATOR literal
    matching: "IsMatch" "(" path "," TEXT ")"
    path: "attributes" "[" TEXT "]"                 -> span_attribute
        | "span" "." "attributes" "[" TEXT "]"      -> span_attribute
        | "resource" "." "attributes" "[" TEXT "]"  -> resource_attribute
        | ("span" ".")? "name"                      -> name
        | ("span" ".")? "kind"                      -> kind
        | ("span" ".")? "status" "." "code"         -> status_code
        | ("span" ".")? "status" "." "message"      -> status_message
    ?literal: TEXT -> text | FLOAT -> float | INT -> int | "true" -> true | "false" -> false | "nil" -> nil
        | WORD -> word
    OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
    TEXT: /"(\\.|[^"\\])*"/
    FLOAT: /-?[0-9]+\.[0-9]+/
    INT: /-?[0-9]+/
    WORD: /(SPAN_KIND|STATUS_CODE)_[A-Z]+/
    %ignore /[ \t\r\n]+/
"""
_WORDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
    "STATUS_CODE_UNSET": 0,
    "STATUS_CODE_OK": 1,
    "STATUS_CODE_ERROR": 2,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class ConditionError(ValueError):
    """A condition that cannot be read: where, and what is expected."""


@dataclass(frozen=True, slots=True)
class Path:
    """A field of a span. field: span_attribute, resource_attribute, name, kind, status_code or status_message; key: of
    an attribute
    """

    field: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """path operator value; a value of None is nil, which an absent field equals."""

    path: Path
    operator: Operator
    value: Literals


@dataclass(frozen=True, slots=True)
class Matching:
    """Whether a regular expression matches a part of the field."""

    path: Path
    pattern: str


@dataclass(frozen=True, slots=True)
class Joined:
    """All (and) or any (or) of the parts."""

    word: Literal["and", "or"]
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Negated:
    part: "Condition"


Condition = FieldComparison | Matching | Joined | Negated


def parse_condition(text: str) -> Condition:
    """The tree of a condition. Raises: ConditionError"""
    from lark.exceptions import UnexpectedInput, VisitError

    if len(text) > _TEXT_CHARS_MAX:
        raise ConditionError(f"the condition is longer than {_TEXT_CHARS_MAX} characters")
    try:
        return _tree(_parser().parse(text))
    except UnexpectedInput as err:
        ended = getattr(getattr(err, "token", None), "type", "") == "$END"
        where = "at the end" if ended else f"at character {getattr(err, 'column', 1)}"
        raise ConditionError(
            f'{where}: not understood; a condition compares attributes["key"], resource.attributes["key"], name, '
            "kind, status.code or status.message (== != < <= > >=, IsMatch), joined by and, or, not"
        ) from None
    except VisitError as err:
        raise ConditionError(str(err.orig_exc)) from None
    except RecursionError:
        raise ConditionError("the condition is nested too deeply") from None


@lru_cache(maxsize=1)
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _tree(node: Any) -> Condition:
    match node.data:
        case "either" | "both":
            word: Literal["and", "or"] = "or" if node.data == "either" else "and"
            return Joined(word, tuple(_tree(child) for child in node.children))
        case "negated":
            return Negated(_tree(node.children[0]))
        case "matching":
            path, pattern = _path(node.children[0]), _text(node.children[1])
            _checked_pattern(pattern)
            return Matching(path, pattern)
        case _:
            path, operator, literal = node.children
            return _comparison(_path(path), str(operator), _literal(literal))


def _comparison(path: Path, operator: Any, value: Literals) -> FieldComparison:
    if (value is None or isinstance(value, bool)) and operator not in ("==", "!="):
        raise ConditionError(f"nil, true and false are compared by == and != only; got {operator}")
    numeric = path.field in ("kind", "status_code")
    if numeric and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConditionError(f"{path.field} is compared with a number, or a word as SPAN_KIND_SERVER")
    if path.field in ("name", "status_message") and not isinstance(value, str):
        raise ConditionError(f"{path.field} is compared with a text in double quotes")
    return FieldComparison(path, operator, value)


def _path(node: Any) -> Path:
    return Path(str(node.data), _text(node.children[0]) if node.children else "")


def _literal(node: Any) -> Literals:
    match node.data:
        case "text":
            return _text(node.children[0])
        case "int":
            return int(node.children[0])
        case "float":
            return float(node.children[0])
        case "word":
            word = str(node.children[0])
            if word not in _WORDS:
                raise ConditionError(f"{word} is none of {', '.join(_WORDS)}")
            return _WORDS[word]
        case "true" | "false":
            return bool(node.data == "true")
        case _:
            return None


def _text(token: Any) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), str(token)[1:-1])


def _checked_pattern(pattern: str) -> None:
    """RE2, as in OTTL: Arrow has it. Raises: ConditionError"""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as err:
        raise ConditionError(f"IsMatch: the regular expression {pattern[:60]!r} is wrong: {err}") from None
