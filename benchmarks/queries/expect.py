"""Right answers: each object checks the body of an answer, and returns the error as text; "" means right."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


class Expect(Protocol):
    """Judges an answer's body, parsed. A body that lacks what it must have raises KeyError, TypeError or ValueError."""

    def wrong(self, answer: Json) -> str: ...


def wrong(expect: Expect, status: int, body: bytes) -> str:
    """What is wrong with an answer of HTTP; "" if it is right."""
    if status != 200:
        return f"status {status}: {body[:200].decode(errors='replace').strip()}"
    try:
        return expect.wrong(json.loads(body))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return f"not the JSON that it should be: {type(error).__name__} {error}: {body[:100]!r}"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace by id: all spans, each once."""

    spans: int

    def wrong(self, answer: Json) -> str:
        ids = [
            span["spanId"]
            for group in answer["trace"].get("resourceSpans", [])
            for scope in group["scopeSpans"]
            for span in scope["spans"]
        ]
        bad = [one for one in ids if len(b64decode(one)) != 8]
        if bad or len(ids) != self.spans or len(set(ids)) != self.spans:
            return f"{len(ids)} spans, {len(set(ids))} different ones; {self.spans} were sent"
        return ""


@dataclass(frozen=True, slots=True)
class Newest:
    """A search: the newest `limit` of the traces that match, newest first, each with how many of its spans match.

    starts_ns, matched: of all traces that match, by id
    """

    limit: int
    starts_ns: Mapping[bytes, int]
    matched: Mapping[bytes, int]

    def wrong(self, answer: Json) -> str:
        traces: list[Json] = answer["traces"]
        found = [bytes.fromhex(one["traceID"].zfill(32)) for one in traces]
        count = min(self.limit, len(self.matched))
        if len(found) != count or len(set(found)) != count:
            return f"{len(found)} traces, {len(set(found))} different ones; must be {count}"
        if foreign := [one.hex() for one in found if one not in self.matched]:
            return f"{len(foreign)} traces do not match, among them {foreign[0]}"
        # By start, not by id: which of two that start in the same nanosecond comes first is the server's affair.
        starts = [int(one["startTimeUnixNano"]) for one in traces]
        newest = sorted(self.starts_ns.values(), reverse=True)[:count]
        if starts != newest or any(self.starts_ns[one] != start for one, start in zip(found, starts, strict=True)):
            return "not the newest traces, newest first, with their own starts"
        for trace_id, trace in zip(found, traces, strict=True):
            matched = sum(int(one.get("matched", 0)) for one in trace["spanSets"])
            if matched != self.matched[trace_id]:
                return f"trace {trace_id.hex()}: {matched} spans match, must be {self.matched[trace_id]}"
        return ""


@dataclass(frozen=True, slots=True)
class Sums:
    """A metrics query: what the samples of each series sum up to.

    label: of the series, its values are the keys of `sums`; "" for one series, whatever its labels
    factor: by which samples are multiplied: the step in seconds where they are rates
    """

    label: str
    sums: Mapping[str, int]
    factor: float = 1.0

    def wrong(self, answer: Json) -> str:
        got: Counter[str] = Counter()
        series: list[Json] = answer["series"]
        for one in series:
            name = label_value(one, self.label) if self.label else ""
            got[name] += round(self.factor * sum(sample.get("value", 0.0) for sample in one["samples"]))
        if len(series) != len(self.sums):
            return f"{len(series)} series, must be {len(self.sums)}"
        return differing(got, self.sums)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A metrics query with so many series for each value of a label, each with a sample above 0."""

    label: str
    values: frozenset[str]
    each: int

    def wrong(self, answer: Json) -> str:
        got: Counter[str] = Counter()
        for one in answer["series"]:
            if max((sample.get("value", 0.0) for sample in one["samples"]), default=0.0) <= 0.0:
                return f"a series of {label_value(one, self.label)!r} has no sample above 0"
            got[label_value(one, self.label)] += 1
        return differing(got, dict.fromkeys(self.values, self.each))


@dataclass(frozen=True, slots=True)
class Tags:
    """Names of attributes by scope. The intrinsic ones, which are not in the data, are left aside."""

    scopes: Mapping[str, frozenset[str]]

    def wrong(self, answer: Json) -> str:
        got = {one["name"]: one.get("tags") or [] for one in answer["scopes"] if one["name"] != "intrinsic"}
        for scope in {*got, *self.scopes}:
            if problem := same(got.get(scope, []), self.scopes.get(scope, frozenset())):
                return f"scope {scope}: {problem}"
        return ""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a tag: exactly these, in any order."""

    values: frozenset[str]

    def wrong(self, answer: Json) -> str:
        return same([one["value"] for one in answer["tagValues"]], self.values)


def label_value(series: Json, label: str) -> str:
    """Raises KeyError where the series does not have the label."""
    for one in series["labels"]:
        if one["key"] == label:
            return str(one["value"]["stringValue"])
    raise KeyError(f"no label {label}")


def differing(got: Mapping[str, int], want: Mapping[str, int]) -> str:
    """The first sum that differs from the expected one."""
    for key in sorted({*got, *want}):
        if got.get(key) != want.get(key):
            return f"{key or 'the sum'}: {got.get(key)}, must be {want.get(key)}"
    return ""


def same(got: list[str], want: frozenset[str]) -> str:
    """Compares two lists: each item once, in any order."""
    if len(got) != len(set(got)):
        return "something is there twice"
    if missing := want - set(got):
        return f"{len(missing)} missing, among them {min(missing)!r}"
    if foreign := set(got) - want:
        return f"{len(foreign)} too many, among them {min(foreign)!r}"
    return ""
