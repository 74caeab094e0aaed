"""Resources and instrumentation scopes of Tempo → serialized messages of OTLP, as records hold them."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import Int32s, dictionary, numbers
from tables.tempo.attributes import Attributes
from tables.tempo.protobuf import any_value, counts, delimited, joined

_KEY, _VALUE = 0x0A, 0x12  # of KeyValue
# Tags of the fields of a resource and of a scope.
_RESOURCE_ATTRIBUTES, _RESOURCE_DROPPED = 0x0A, 0x10
_NAME, _VERSION, _SCOPE_ATTRIBUTES, _SCOPE_DROPPED = 0x0A, 0x12, 0x1A, 0x20
_EMPTY: Final = pa.scalar(b"", pa.binary())


def resources(attributes: Attributes, dropped: Any) -> Any:
    """A serialized Resource each. In: their attributes, and how many were dropped. Out: binary"""
    parts = [_attributes(_RESOURCE_ATTRIBUTES, attributes), counts(_RESOURCE_DROPPED, numbers(dropped))]
    return pc.binary_join_element_wise(*parts, _EMPTY)


def scopes(names: Any, versions: Any, attributes: Attributes, dropped: Any) -> Any:
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


def _attributes(tag: int, attributes: Attributes) -> Any:
    """The attributes of each owner as fields of its message, joined."""
    if not len(attributes.keys):
        return pa.array([b""] * (len(attributes.offsets) - 1), pa.binary())
    encoded = [any_value(field, column) for field, column in attributes.values.items()]
    values = pc.coalesce(*encoded, _EMPTY) if encoded else pa.repeat(_EMPTY, len(attributes.keys))
    keys = delimited(_KEY, attributes.keys.dictionary).take(attributes.keys.indices)
    pairs = pc.binary_join_element_wise(keys, delimited(_VALUE, values), _EMPTY)
    return joined(np.ascontiguousarray(attributes.offsets), delimited(tag, pairs))
