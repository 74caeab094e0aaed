"""Random TraceQL over wide data, most of it valid: along the grammar, then sometimes with a character changed."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from benchmarks.hostile.wide import NAMES, SERVICES, Wide

_INTRINSICS: Final = (
    "name",
    "status",
    "kind",
    "duration",
    "statusMessage",
    "rootName",
    "rootServiceName",
    "traceDuration",
    "nestedSetLeft",
    "nestedSetParent",
    "span:id",
    "span:childCount",
    "trace:id",
    "event:name",
    "event:timeSinceStart",
)
_NUMBERS: Final = ("duration", "traceDuration", "span.http.status_code", "nestedSetLeft", "span:childCount")
_COMPARE: Final = ("=", "!=", "<", "<=", ">", ">=", "=~", "!~")
_STRUCTURE: Final = (">", ">>", "<", "<<", "~", "!>>", "!>", "!~", "&>>", "&<<", "&~", "&&", "||")
_AGGREGATES: Final = ("min", "max", "avg", "sum")
_LENGTHS: Final = ("1ms", "100ms", "1s", "1.5h")
_VALUES: Final = {
    "status": ("error", "ok", "unset"),
    "kind": ("server", "client", "internal"),
    "duration": _LENGTHS,
    "traceDuration": _LENGTHS,
    "event:timeSinceStart": _LENGTHS,
}
_OVER_TIME: Final = ("min_over_time", "max_over_time", "avg_over_time", "sum_over_time", "histogram_over_time")
_NOISE: Final = "{}()|&<>=!~\"'`.,:;\\ \n\0aä€0-+*/%^"


class Grammar:
    """Texts of queries, one after the other."""

    def __init__(self, wide: Wide, rng: Random) -> None:
        self._wide, self._rng = wide, rng

    def search(self) -> str:
        """A random search: a pipeline of spansets."""
        return self._mutated(self._pipeline())

    def metrics(self) -> str:
        """A metrics query, one in ten of them compare(), which takes by far the longest."""
        rng = self._rng
        spans = self._pipeline()
        if rng.random() < 0.1:
            top = rng.choice(("", ", 1", ", 10", ", 1000", ", 1000000"))
            return self._mutated(f"{spans} | compare({self._filter()}{top})")
        function = rng.choice(
            (
                "rate()",
                "count_over_time()",
                f"{rng.choice(_OVER_TIME)}({rng.choice(_NUMBERS)})",
                f"quantile_over_time({rng.choice(_NUMBERS)}, .5, .9, .99)",
            )
        )
        by = f" by ({', '.join(self.field() for _ in range(rng.randint(1, 4)))})" if rng.random() < 0.6 else ""
        rank = rng.choice(("", "", f" | topk({rng.choice((1, 10, 100_000))})", " | bottomk(5)", " > 2"))
        text = f"{spans} | {function}{by}{rank}"
        if rng.random() < 0.1:
            text = f"({text}) {rng.choice('+-*/')} ({self._filter()} | rate(){by})"
        return self._mutated(text)

    def filter(self) -> str:
        """What tags are asked with."""
        structure = self._rng.random() < 0.4
        return self._mutated(f"{self._filter()} {self._structure()} {self._filter()}" if structure else self._filter())

    def field(self) -> str:
        """One of the data's attributes, or an intrinsic."""
        rng = self._rng
        scope = rng.choice(("span", "span", "resource", "event", ""))
        return rng.choice(
            (
                rng.choice(_INTRINSICS),
                "span.like.id",
                "resource.service.name",
                "span.http.status_code",
                f"{scope}.{self._wide.key(rng.randrange(self._wide.keys))}",
            )
        )

    def _structure(self) -> str:
        return self._rng.choice(_STRUCTURE)

    def _pipeline(self) -> str:
        rng = self._rng
        text = self._filter()
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
            text = f"{text} {self._structure()} {self._filter()}"
        stages: Sequence[Callable[[], str]] = (
            lambda: f"by({self.field()})",
            lambda: f"select({', '.join(self.field() for _ in range(rng.choice((1, 3, 40))))})",
            lambda: f"count() > {rng.choice((0, 1, 3, 1000))}",
            lambda: f"{rng.choice(_AGGREGATES)}({rng.choice(_NUMBERS)}) > {rng.choice(('0', '1s', '100'))}",
            lambda: "coalesce()",
            self._filter,
        )
        for _ in range(rng.choice((0, 0, 1, 2))):
            text = f"{text} | {rng.choice(stages)()}"
        return text

    def _filter(self) -> str:
        if self._rng.random() < 0.35:
            return "{ }"
        return f"{{ {self._expression(self._rng.choice((0, 0, 1, 2)))} }}"

    def _expression(self, depth: int) -> str:
        if depth:
            op = self._rng.choice(("&&", "||"))
            text = f"({self._expression(depth - 1)} {op} {self._expression(depth - 1)})"
            return f"!{text}" if self._rng.random() < 0.1 else text
        field = self.field()
        words = _VALUES.get(field)
        if words is not None and self._rng.random() < 0.9:
            op = self._rng.choice(_COMPARE[:6] if words is _LENGTHS else _COMPARE[:2])
            return f"{field} {op} {self._rng.choice(words)}"
        value = self._value()
        op = self._rng.choice(_COMPARE if value.startswith('"') else _COMPARE[:6])
        return f"{field} {op} {value}"

    def _value(self) -> str:
        rng = self._rng
        return rng.choice(
            (
                f'"{rng.choice((*NAMES, *SERVICES))}"',
                f'"v{rng.randrange(12)}"',
                f'"id-0000{rng.randrange(10)}.*"',
                '".*"',
                str(rng.choice((0, 1, 7, 200, 500, -1, 10**18))),
                rng.choice(("1ms", "100ms", "1h", "1.5", "true", "error", "ok", "server", "nil")),
            )
        )

    def _mutated(self, text: str) -> str:
        """One in six with something wrong."""
        rng = self._rng
        for _ in range(rng.choice((0, 0, 0, 0, 0, 1))):
            at = rng.randrange(len(text) + 1)
            text = rng.choice(
                (
                    text[:at] + rng.choice(_NOISE) + text[at:],
                    text[:at] + text[at + 1 :],
                    text[:at] + text[at:][::-1],
                    text + text[at:],
                )
            )
        return text
