"""Resources and scopes: raw OTLP messages, one per distinct value → a column per attribute."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tables.schema import ATTRIBUTE_TYPES, attribute_column
from tables.seal.values import typed_value

Codes = npt.NDArray[np.int32]


# The same few resources come in every record; parsing one costs as much as sealing ten spans.
@lru_cache(maxsize=4096)
def parse_resource(raw: bytes) -> Resource:
    """A resource; an empty one where the bytes are not a resource's."""
    try:
        return Resource.FromString(raw)
    except DecodeError:
        return Resource()


@lru_cache(maxsize=4096)
def parse_scope(raw: bytes) -> InstrumentationScope:
    """A scope; an empty one where the bytes are not a scope's."""
    try:
        return InstrumentationScope.FromString(raw)
    except DecodeError:
        return InstrumentationScope()


def service_name(resource: Resource) -> str | None:
    """`service.name`, where it is a string."""
    for pair in resource.attributes:
        if pair.key == "service.name" and pair.value.HasField("string_value"):
            return str(pair.value.string_value)
    return None


def resource_columns(resources: Sequence[Resource], codes: Codes) -> dict[str, Any]:
    """Columns `resource.<key>`; codes: each row's resource."""
    columns = _attribute_columns("resource", [r.attributes for r in resources], codes)
    dropped = [r.dropped_attributes_count for r in resources]
    return columns | _count_column("resource_dropped_attributes_count", dropped, codes)


def scope_columns(scopes: Sequence[InstrumentationScope], codes: Codes) -> dict[str, Any]:
    """Columns scope_name, scope_version and `instrumentation.<key>`; codes: each row's scope."""
    columns: dict[str, Any] = {
        "scope_name": _spread([s.name for s in scopes], codes, pa.string()),
        "scope_version": _spread([s.version for s in scopes], codes, pa.string()),
    }
    columns |= _attribute_columns("instrumentation", [s.attributes for s in scopes], codes)
    dropped = [s.dropped_attributes_count for s in scopes]
    return columns | _count_column("scope_dropped_attributes_count", dropped, codes)


def _attribute_columns(scope: str, attributes: Sequence[Sequence[KeyValue]], codes: Codes) -> dict[str, Any]:
    values: dict[tuple[str, str], dict[int, Any]] = {}
    for number, pairs in enumerate(attributes):
        for pair in pairs:
            word, value = typed_value(pair.value)
            values.setdefault((pair.key, word), {})[number] = value
    columns: dict[str, Any] = {}
    for (key, word), by_number in values.items():
        by_code = [by_number.get(number) for number in range(len(attributes))]
        columns[attribute_column(scope, key, word)] = _spread(by_code, codes, ATTRIBUTE_TYPES[word])
    return columns


def _spread(by_code: list[Any], codes: Codes, type_: Any) -> Any:
    """by_code[codes]: strings as a dictionary of the distinct values, other types plain."""
    if type_ != pa.string():
        return pa.array(by_code, type_).take(pa.array(codes))
    distinct: dict[str, int] = {}
    numbers = [-1 if value is None else distinct.setdefault(value, len(distinct)) for value in by_code]
    index = np.array(numbers, np.int32)[codes]
    mask = index < 0
    indices = pa.array(index, mask=mask) if mask.any() else pa.array(index)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(distinct), pa.string()))


def _count_column(name: str, counts: list[int], codes: Codes) -> dict[str, Any]:
    if not any(counts):
        return {}
    return {name: pa.array(np.array(counts, np.uint32)[codes])}
