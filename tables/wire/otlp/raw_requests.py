"""OTLP requests whose resources, scopes and spans stay bytes: to take apart and put together, without reading them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "stretto.raw"
# message → field, number, type; a leading * means repeated.
_MESSAGES: Final[dict[str, Sequence[tuple[str, int, str]]]] = {
    "Request": (("resource_spans", 1, "*ResourceSpans"),),
    "ResourceSpans": (("resource", 1, "bytes"), ("scope_spans", 2, "*ScopeSpans"), ("schema_url", 3, "string")),
    "ScopeSpans": (("scope", 1, "bytes"), ("spans", 2, "*bytes"), ("schema_url", 3, "string")),
}
_SCALARS: Final = {"bytes": _Field.TYPE_BYTES, "string": _Field.TYPE_STRING}

# A resource, its schema, a scope, and its schema.
Source = tuple[bytes, str, bytes, str]


class RawRequests:
    """Reads and writes requests with protobuf's own code."""

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

    def request(self, spans: Mapping[Source, Sequence[bytes]]) -> bytes:
        """A request with these spans, and no other fields."""
        message = self._message()
        resources: dict[tuple[bytes, str], Any] = {}
        for (resource, resource_url, scope, scope_url), bodies in spans.items():
            of_resource = resources.get((resource, resource_url))
            if of_resource is None:
                of_resource = message.resource_spans.add(resource=resource, schema_url=resource_url)
                resources[resource, resource_url] = of_resource
            of_resource.scope_spans.add(scope=scope, schema_url=scope_url, spans=bodies)
        return bytes(message.SerializeToString())
