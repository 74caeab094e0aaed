"""A tree of plain values, label sets and numpy arrays ↔ bytes with a checksum."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from agents.generator.series.labels import Labels
from tables.errors import WireError

# Mappings with texts as keys, lists, tuples, texts, numbers, None, arrays of numbers, `LabelSets`, `Plain`.
Tree = Any

_MAGIC: Final = b"STRETTO1"
_DIGEST_BYTES: Final = 16
_ARRAY: Final = "$array"
_LABELS: Final = "$labels"
_SCHEMA: Final = pa.schema(
    [pa.field("dtype", pa.string()), pa.field("shape", pa.list_(pa.int64())), pa.field("data", pa.large_binary())]
)


@dataclass(frozen=True, eq=False, slots=True)
class LabelSets:
    """A list of label sets. An object that is in several lists is written once, and read back as one object."""

    many: list[Labels]


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """A value that JSON can hold unchanged: without arrays and label sets. Dataclasses are read as mappings."""

    value: Any


def dump(tree: Tree) -> bytes:
    """The tree as bytes; tuples become lists."""
    return _Writer().dump(tree)


def parse(data: bytes) -> Tree:
    """The tree from `dump`. Raises: WireError if the bytes are incomplete, or of another version"""
    start = len(_MAGIC) + _DIGEST_BYTES
    if data[: len(_MAGIC)] != _MAGIC:
        raise WireError("it is of another version")
    if _digest(data[start:]) != data[len(_MAGIC) : start]:
        raise WireError("it is not whole")
    rows = pa.ipc.open_stream(pa.py_buffer(data).slice(start)).read_all().to_pylist()
    said = orjson.loads(rows[0]["data"])
    labels = [tuple((name, value) for name, value in one) for one in said["labels"]]

    def array(number: int) -> Any:
        row = rows[number]
        # A copy: an array over these bytes could not be written to.
        return np.frombuffer(row["data"], np.dtype(row["dtype"])).reshape(row["shape"]).copy()

    def build(value: Tree) -> Tree:
        match value:
            case {"$array": number}:
                return array(number)
            case {"$labels": number}:
                return LabelSets([labels[one] for one in array(number).tolist()])
            case dict():
                return {name: build(item) for name, item in value.items()}
            case list():
                return [build(item) for item in value]
            case _:
                return value

    return build(said["tree"])


class _Writer:
    def __init__(self) -> None:
        self._arrays: list[Any] = [b""]  # the first is the tree
        self._labels: list[Labels] = []
        self._number_of: dict[int, int] = {}  # by the label set's id

    def dump(self, tree: Tree) -> bytes:
        plain = self._plain(tree)
        self._arrays[0] = np.frombuffer(orjson.dumps({"tree": plain, "labels": self._labels}), np.uint8)
        columns = [
            pa.array([array.dtype.str for array in self._arrays]),
            pa.array([list(array.shape) for array in self._arrays], pa.list_(pa.int64())),
            pa.array([array.tobytes() for array in self._arrays], pa.large_binary()),
        ]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        body: bytes = sink.getvalue().to_pybytes()
        return _MAGIC + _digest(body) + body

    def _plain(self, value: Tree) -> Tree:
        match value:
            case np.ndarray():
                return {_ARRAY: self._add(value)}
            case LabelSets(many):
                for one in many:
                    if id(one) not in self._number_of:
                        self._number_of[id(one)] = len(self._labels)
                        self._labels.append(one)
                return {_LABELS: self._add(np.array([self._number_of[id(one)] for one in many], np.int64))}
            case Plain(plain):
                return plain
            case dict():
                return {name: self._plain(item) for name, item in value.items()}
            case list() | tuple():
                return [self._plain(item) for item in value]
            case _:
                return value

    def _add(self, array: Any) -> int:
        self._arrays.append(array)
        return len(self._arrays) - 1


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
