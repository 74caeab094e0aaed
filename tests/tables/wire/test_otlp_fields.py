"""Every field that OTLP's newest descriptors have comes back by trace id."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.helpers.live.whole_way import Way
from tests.helpers.receiving.otlp_fields import NOT_OF_TRACES, leaves, sent


@pytest.fixture(scope="module")
def came_back() -> dict[str, Any]:
    request = ExportTraceServiceRequest(resource_spans=[sent()]).SerializeToString()
    (group,) = Way(request).groups()
    return dict(leaves(group))


@pytest.mark.parametrize(("path", "value"), list(leaves(sent())), ids=lambda one: one if isinstance(one, str) else "")
def test_field(came_back: dict[str, Any], path: str, value: Any) -> None:
    """It is there, with its value."""
    assert came_back.get(path) == value


def test_nothing_is_made_up(came_back: dict[str, Any]) -> None:
    """What was not sent does not come back."""
    assert came_back.keys() == dict(leaves(sent())).keys()


@pytest.mark.parametrize(
    "value",
    [
        AnyValue(string_value=""),
        AnyValue(bool_value=False),
        AnyValue(int_value=0),
        AnyValue(double_value=0.0),
        AnyValue(bytes_value=b""),
        AnyValue(array_value={"values": []}),
        AnyValue(array_value={"values": [AnyValue(int_value=1), AnyValue(string_value="a")]}),
        AnyValue(kvlist_value={"values": []}),
        AnyValue(kvlist_value={"values": [{"key": "k", "value": AnyValue(bool_value=True)}]}),
        AnyValue(),
    ],
    ids=lambda value: f"{value.WhichOneof('value')} {value.ByteSize()}",
)
def test_value_of_an_attribute(value: AnyValue) -> None:
    """Each kind of value, empty ones too, wherever attributes are."""
    group = sent()
    scoped = group.scope_spans[0]
    span = scoped.spans[0]
    for owner in (group.resource, scoped.scope, span, span.events[0], span.links[0]):
        owner.attributes[0].value.CopyFrom(value)
    (found,) = Way(ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()).groups()
    assert dict(leaves(found)) == dict(leaves(group))
    owned = [found.resource, found.scope_spans[0].scope, found.scope_spans[0].spans[0]]
    owned += [found.scope_spans[0].spans[0].events[0], found.scope_spans[0].spans[0].links[0]]
    assert [owner.attributes[0].value for owner in owned] == [value] * 5


def test_the_walk_is_complete() -> None:
    """The filled message has every field of every message of OTLP's traces."""
    seen, todo, wanted = set(), [ResourceSpans.DESCRIPTOR], set()
    while todo:
        message = todo.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        wanted |= {f.name for f in message.fields if f.name not in NOT_OF_TRACES and not f.containing_oneof}
        todo += [field.message_type for field in message.fields if field.message_type]
    named = {part.partition("[")[0] for path, _ in leaves(sent()) for part in path.split(".")}
    assert wanted - named == {"values"}  # of arrays and key-value lists: test_value_of_an_attribute
