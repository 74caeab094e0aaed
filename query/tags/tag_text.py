"""Texts of the tag endpoints: the tag whose values are asked for, and the filter, which clients send half-written."""

import re
from typing import Final

from query.errors import TraceQLError
from query.language import ast
from query.language.compile import compile_query
from query.language.parse import parse
from query.language.words import ALIASES, INTRINSICS, without_comments

SCOPES: Final = ("resource", "span", "event", "link", "instrumentation")
INTRINSIC: Final = "intrinsic"
# Numbers of the nested set are no values that anyone picks from a list; Tempo does not offer them either.
_NOT_OFFERED: Final = {"nestedSetLeft", "nestedSetRight", "nestedSetParent", "span:childCount"}
INTRINSIC_TAGS: Final = tuple(sorted({*INTRINSICS, *ALIASES} - _NOT_OFFERED))

# Names that the older API (v1) has for intrinsics, besides TraceQL's.
_OLD_INTRINSICS: Final = {
    "root.name": "rootName",
    "root.service.name": "rootServiceName",
    "status.code": "status",
    "span.kind": "kind",
}

_SCOPED: Final = re.compile(r"(resource|span|event|link|instrumentation)?\.(.+)", re.DOTALL)
_QUOTED: Final = r'"(?:\\.|[^"\\])*"'
_STRING: Final = rf"{_QUOTED}|`[^`]*`"
# A field, an operator and a constant. It begins where a word begins, so that a long text takes no square of time.
_CONDITION: Final = re.compile(
    rf"(?<![\w:.])(?:[\w:]*\.(?:[^\s{{}}()=~!<>&|^,\"]|{_QUOTED})+|[A-Za-z]\w*(?::\w+)?)"
    r"\s*(?:=~|!~|!=|<=|>=|=|<|>)\s*"
    rf"(?:{_STRING}|-?[\w.µμ]+)"
)
# Parsing takes time, and tags are parsed where others wait; a longer one is an attribute without quotes.
_PARSED_CHARS_MAX: Final = 1000
# What someone writes into a filter by hand is shorter; of a longer one that is not TraceQL nothing is applied.
_BROKEN_CHARS_MAX: Final = 2048
_CONDITIONS_MAX: Final = 64


def parse_tag(text: str) -> ast.Field:
    """`span.http.route`, `.x`, `span."a b"`, `status`, `span:kind` → the field.

    A key that should be quoted may come without quotes: the text is nothing but the tag.
    Raises: TraceQLError for what is neither an intrinsic nor an attribute with a scope
    """
    field = _field(text) if len(text) <= _PARSED_CHARS_MAX else None
    if field is not None:
        return field
    scoped = _SCOPED.fullmatch(text)
    if scoped is not None:
        return ast.Attribute(scoped[1], scoped[2])
    hint = "Tags are attributes with their scope (span.x, resource.x, .x) or intrinsics (name, status, span:kind)."
    raise TraceQLError(f"{text[:80]!r} is no tag", text, 0, max(1, len(text)), hint)


def _field(text: str) -> ast.Field | None:
    try:
        root = parse(f"{{ {text} = nil }}").root
    except TraceQLError:
        return None
    match root:
        case ast.Pipeline(
            stages=(ast.Filter(condition=ast.Comparison(op="=", left=ast.Attribute() | ast.Intrinsic() as field)),)
        ) if not isinstance(field, ast.Attribute) or field.scope in {None, *SCOPES}:
            return field
    return None


def parse_old_tag(text: str) -> tuple[ast.Field, ...]:
    """A tag of the older API (v1), without scope: everything that goes by this name."""
    name = _OLD_INTRINSICS.get(text, ALIASES.get(text, text))
    if name in INTRINSICS:
        return (ast.Intrinsic(name),)
    return tuple(ast.Attribute(scope, text) for scope in SCOPES)


def usable_filter(text: str) -> str:
    """What of a filter can be applied: all of it if it is TraceQL; else the conditions in it that are whole.

    Grafana asks while its user writes: `{ resource.service.name = "a" && span. }`. Of alternatives (||) the missing
    one may be the wanted one, so that nothing can be applied. Out: "" for no filter
    """
    if not text.strip() or _compiles(text):
        return text.strip()
    text = without_comments(text)
    if len(text) > _BROKEN_CHARS_MAX or "||" in re.sub(_STRING, "", text):
        return ""
    found = [match[0] for match in _CONDITION.finditer(text)][:_CONDITIONS_MAX]
    whole = [condition for condition in dict.fromkeys(found) if _compiles(f"{{ {condition} }}")]
    return f"{{ {' && '.join(whole)} }}" if whole else ""


def _compiles(text: str) -> bool:
    try:
        compile_query(text)
    except TraceQLError:
        return False
    return True
