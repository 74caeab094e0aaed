"""The syntax tree of TraceQL: the whole language, in frozen nodes and closed unions.

Every node knows its place in the text (`at`), which does not count in comparisons. The unions at the end of each
section are closed: `match` over them ends in `assert_never`, so that mypy reports a forgotten node.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Type(StrEnum):
    """What an expression yields, as far as the text tells."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    DURATION = "duration"  # nanoseconds; counts as an int
    BOOL = "bool"
    STATUS = "status"
    KIND = "kind"
    NIL = "nil"
    ATTRIBUTE = "attribute"  # known only when a span is looked at


NUMERIC: Final = frozenset({Type.INT, Type.FLOAT, Type.DURATION})


@dataclass(frozen=True, slots=True)
class At:
    """Half-open range of characters in the query's text."""

    start: int
    end: int


NOWHERE: Final = At(0, 0)


# --- field expressions: one value per span -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. Durations in ns; status and kind as OTLP's numbers; nil as None."""

    value: str | int | float | bool | None
    type: Type
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    """`span.http.route`; scope None: `.http.route`. Scopes are those of `ATTRIBUTE_SCOPES`."""

    scope: str | None
    key: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A field that every span has, under its first spelling in `INTRINSICS`: `duration`, `span:id`."""

    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign before an operand: `-x` or `!x`."""

    op: str
    operand: "FieldExpr"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`a + b`; op is one of + - * / % ^."""

    op: str
    left: "FieldExpr"
    right: "FieldExpr"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a = b`; op is one of = != < <= > >= =~ !~."""

    op: str
    left: "FieldExpr"
    right: "FieldExpr"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """`a && b && c`, or the same with ||: two operands or more."""

    op: str
    operands: tuple["FieldExpr", ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


def is_number(node: object) -> bool:
    """Whether it is a literal of a numeric type."""
    return isinstance(node, Literal) and node.type in NUMERIC


Field = Attribute | Intrinsic
FieldExpr = Literal | Attribute | Intrinsic | Unary | Arithmetic | Comparison | Logic


# --- spansets and pipelines ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """`{ condition }`; None: `{ }`, every span."""

    condition: FieldExpr | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SpansetOp:
    """Two spansets of one trace: && || > >> < << ~, negated with !, as a union with &."""

    op: str
    left: "SpansetExpr"
    right: "SpansetExpr"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`count()`, `avg(duration)`: one number per spanset."""

    function: str
    of: FieldExpr | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ScalarOp:
    """Arithmetic with aggregates and numbers."""

    op: str
    left: "Scalar"
    right: "Scalar"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ScalarFilter:
    """`| count() > 2`: keeps the spansets for which it holds."""

    op: str
    left: "Scalar"
    right: "Scalar"
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class GroupBy:
    """`| by(x)`: splits each spanset by the value of x."""

    by: FieldExpr
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Coalesce:
    """`| coalesce()`: joins the spansets of a trace again."""

    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Select:
    """`| select(a, b)`: fields to show."""

    fields: tuple[Field, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages from left to right; inside of a spanset expression it stood in parentheses."""

    stages: tuple["Stage", ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


Scalar = Literal | Aggregate | ScalarOp
SpansetExpr = Filter | SpansetOp | Pipeline
Stage = Filter | SpansetOp | Pipeline | ScalarFilter | GroupBy | Coalesce | Select


# --- metrics -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MetricsFunction:
    """`rate() by (name)`, `quantile_over_time(duration, .9)`: numbers holds the quantiles."""

    name: str
    of: FieldExpr | None
    numbers: tuple[float, ...]
    by: tuple[FieldExpr, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """`compare({ selection }, top_n, start, end)`; the times in ns, 0 where not given."""

    selection: Filter
    top_n: int
    start_ns: int
    end_ns: int
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """`{ … } | rate()`: spans that match, and the function that makes series of them."""

    spans: Pipeline
    function: MetricsFunction | Compare
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Ranking:
    """`| topk(n)` or `| bottomk(n)`."""

    of: "Metrics"
    function: str
    n: int
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MetricsFilter:
    """`rate() > 10`: keeps the samples for which it holds."""

    of: "Metrics"
    op: str
    value: Literal
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MetricsMath:
    """`({…} | rate()) / ({…} | rate())`; one side may be a number."""

    op: str
    left: "Metrics | Literal"
    right: "Metrics | Literal"
    at: At = field(default=NOWHERE, compare=False, repr=False)


Metrics = MetricsQuery | Ranking | MetricsFilter | MetricsMath
# What leaves samples out, one after the other.
CHOICES: Final[tuple[type[Ranking | MetricsFilter], ...]] = (Ranking, MetricsFilter)


@dataclass(frozen=True, slots=True)
class Hint:
    """A hint behind the query: `with(name=value)`."""

    name: str
    value: Literal
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query and its text, which errors quote."""

    root: Pipeline | Metrics
    hints: tuple[Hint, ...]
    text: str = field(compare=False, repr=False)
