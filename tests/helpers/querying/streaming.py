"""Answers of the streaming API, and whether messages say what the HTTP API's JSON says."""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from app.api.proto import tempo_pb2 as pb
from app.api.tempo import messages
from query.engine.distinct import TagValue
from query.results import Exemplar, Inspected, MetricsResult, Series
from query.tags.tags import TagNames, TagValues

INSPECTED = Inspected(traces=3, spans=9, bytes=2**40, sources=2)
NAMES = TagNames({"intrinsic": ("kind", "name"), "resource": ("b", "x"), "span": ("a", "b")}, INSPECTED)
VALUES = TagValues((TagValue("int", "5"), TagValue("string", "5"), TagValue("string", "a")), INSPECTED)
VALUE_KINDS = [("s", "x"), ("i", -(2**63)), ("d", 1.5), ("b", False), ("l", ["a", "b"]), ("e", []), ("n", float("nan"))]
SERIES = MetricsResult(
    [
        Series(VALUE_KINDS, [(10**9, 0.0), (2 * 10**9, 2.5)], [Exemplar(bytes(15) + b"\x05", 3 * 10**9, 7.0)]),
        Series([], [(10**9, float("inf"))]),
    ],
    INSPECTED,
)


def same(body: bytes, parts: Iterable[Any]) -> None:
    """The JSON says what the messages say."""
    (part,) = parts
    if isinstance(part, messages.Whole):
        part = pb.SearchResponse.FromString(part.SerializeToString())
    want = json_format.ParseDict(json.loads(body), type(part)())
    # As text: not a number is not equal to itself.
    assert str(part) == str(want)
