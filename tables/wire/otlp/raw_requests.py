"""OTLP requests whose resources, scopes and spans stay bytes: to take apart and put together, without reading them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tables.columns.varint import varint

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "stretto.raw"
# message → field, number, type; a leading * means repeated.
_MESSAGES: Final[dict[str, Sequence[tuple[str, int, str]]]] = {
    "Request": (("resource_spans", 1, "*ResourceSpans"),),
    "ResourceSpans": (("resource", 1, "bytes"), ("scope_spans", 2, "*ScopeSpans"), ("schema_url", 3, "string")),
    "ScopeSpans": (("scope", 1, "bytes"), ("spans", 2, "*bytes"), ("schema_url", 3, "string")),
}
_SCALARS: Final = {"bytes": _Field.TYPE_BYTES, "string": _Field.TYPE_STRING}
# Tags of fields that have a length: their numbers are in `_MESSAGES`.
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"
_SPAN_LENGTHS: Final = tuple(_SECOND + varint(size) for size in range(4096))

# A span as a field of its scope: with its tag and length.
SpanField = bytes


class SpanOrigin(NamedTuple):
    """What some spans come from, as the fields that are around them: resource and its schema, scope and its schema."""

    resource: tuple[bytes, bytes]
    scope: bytes
    scope_url: bytes

    @classmethod
    def of(cls, resource: bytes, resource_url: str, scope: bytes, scope_url: str) -> "SpanOrigin":
        """Of a resource and a scope as protobuf writes them."""
        around = (_field(_FIRST, resource), _field(_THIRD, resource_url.encode()))
        return cls(around, _field(_FIRST, scope), _field(_THIRD, scope_url.encode()))


def _field(tag: bytes, content: bytes) -> bytes:
    """A field; nothing if it is empty, as protobuf has it."""
    return tag + varint(len(content)) + content if content else b""


def span_fields(spans: Sequence[bytes]) -> list[SpanField]:
    """Spans as the fields of a scope."""
    lengths, most = _SPAN_LENGTHS, len(_SPAN_LENGTHS)
    return [(lengths[len(span)] if len(span) < most else _SECOND + varint(len(span))) + span for span in spans]


def request_of(spans: Mapping[SpanOrigin, Sequence[SpanField]]) -> bytes:
    """A request with these spans, and no other fields, as protobuf writes it."""
    resources: dict[tuple[bytes, bytes], list[bytes]] = {}
    for (resource, scope, scope_url), fields in spans.items():
        scoped = b"".join((scope, *fields, scope_url))
        found = resources.get(resource)
        if found is None:
            found = resources[resource] = [resource[0]]
        found += _SECOND, varint(len(scoped)), scoped
    request: list[bytes] = []
    for (_, url), parts in resources.items():
        parts.append(url)
        content = b"".join(parts)
        request += _FIRST, varint(len(content)), content
    return b"".join(request)


class RawRequests:
    """Reads requests with protobuf's own code."""

    def __init__(self) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="stretto/raw.proto", package=_PACKAGE, syntax="proto3")
        for name, fields in _MESSAGES.items():
            message = file.message_type.add(name=name)
            for field_name, number, type_ in fields:
                plain = type_.removeprefix("*")
                label = _Field.LABEL_REPEATED if plain != type_ else _Field.LABEL_OPTIONAL
                field = message.field.add(name=field_name, number=number, label=label)
                if plain in _SCALARS:
                    field.type = _SCALARS[plain]
                else:
                    field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))

    def parse(self, request: bytes) -> Any:
        """The request as a message. Raises: DecodeError"""
        return self._message.FromString(request)
