"""Resources and instrumentation scopes of Tempo → serialized messages of OTLP, as records hold them."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import Int32s, concat, dictionary, numbers
from tables.columns.types import Int64s
from tables.tempo.attributes import TempoAttributes
from tables.tempo.protobuf import any_value, counts, delimited, joined

_KEY, _VALUE = 0x0A, 0x12  # of KeyValue
# Tags of the fields of a resource and of a scope.
_RESOURCE_ATTRIBUTES, _RESOURCE_DROPPED = 0x0A, 0x10
_NAME, _VERSION, _SCOPE_ATTRIBUTES, _SCOPE_DROPPED = 0x0A, 0x12, 0x1A, 0x20
_EMPTY: Final = pa.scalar(b"", pa.binary())


def resources(attributes: TempoAttributes, dropped: Any) -> Any:
    """A serialized Resource each. In: their attributes, and how many were dropped. Out: binary"""
    parts = [_attributes(_RESOURCE_ATTRIBUTES, attributes), counts(_RESOURCE_DROPPED, numbers(dropped))]
    return pc.binary_join_element_wise(*parts, _EMPTY)


def scopes(names: Any, versions: Any, attributes: TempoAttributes, dropped: Any) -> Any:
    """A serialized InstrumentationScope each. In: strings; as `resources`. Out: binary"""
    parts = [
        delimited(_NAME, names),
        delimited(_VERSION, versions),
        _attributes(_SCOPE_ATTRIBUTES, attributes),
        counts(_SCOPE_DROPPED, numbers(dropped)),
    ]
    return pc.binary_join_element_wise(*parts, _EMPTY)


def spread(owners: Any, of_rows: Int32s) -> pa.DictionaryArray:
    """The owner of each row as a dictionary. In: binary; the number of each row's owner"""
    encoded = owners.dictionary_encode()
    return dictionary(numbers(encoded.indices)[of_rows], encoded.dictionary)


def _attributes(tag: int, attributes: TempoAttributes) -> Any:
    """The attributes of each owner as fields of its message, joined. Each distinct pair of key and value is encoded
    once: most owners have the same few.
    """
    if not len(attributes.keys):
        return pa.array([b""] * (len(attributes.offsets) - 1), pa.binary())
    values, codes = _distinct_values(attributes)
    pairs = pa.array(numbers(attributes.keys.indices).astype(np.int64) * len(values) + codes).dictionary_encode()
    key, value = np.divmod(numbers(pairs.dictionary), len(values))
    keys = delimited(_KEY, attributes.keys.dictionary).take(pa.array(key))
    fields = pc.binary_join_element_wise(keys, delimited(_VALUE, values).take(pa.array(value)), _EMPTY)
    return joined(np.ascontiguousarray(attributes.offsets), delimited(tag, fields).take(pairs.indices))


def _distinct_values(attributes: TempoAttributes) -> tuple[Any, Int64s]:
    """Serialized AnyValues, and the number of each entry's; the first is that of an entry without a value."""
    codes = np.zeros(len(attributes.keys), np.int64)
    values = [pa.array([b""], pa.binary())]
    count = 1
    for field, column in attributes.values.items():
        entries = np.flatnonzero(numbers(column.is_valid()))
        there = column.drop_null()
        if field == "double_value":  # whose dictionary would take -0.0 for 0.0
            distinct, number = there, np.arange(len(there))
        else:
            encoded = there.dictionary_encode()
            distinct, number = encoded.dictionary, numbers(encoded.indices)
        codes[entries] = count + number
        values.append(any_value(field, distinct))
        count += len(distinct)
    return concat(values), codes
