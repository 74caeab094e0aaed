"""Structs of Thrift for the decoder in C of Apache's library, and a safe way to call it.

A struct is declared by its fields, as its IDL has them; no code is generated. Texts stay bytes: OTLP takes them so.
A message is read struct by struct. An item of a list may have a single byte, of which a Python object is made: read at
once, a message of some megabytes would take hundreds, and nobody else would get the GIL meanwhile.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final, Literal, NamedTuple, TypeVar

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TType
from thrift.transport.TTransport import CReadableTransport, TTransportBase

from tables.errors import WireError
from tables.wall import walled
from tables.wire.span_parts import SPAN_BYTES_MAX

T = TypeVar("T")

Encoding = Literal["binary", "compact"]

I16, I32, I64, DOUBLE, BOOL, BYTE = TType.I16, TType.I32, TType.I64, TType.DOUBLE, TType.BOOL, TType.BYTE
STRUCT, LIST = TType.STRUCT, TType.LIST

# The decoder gets so many bytes at once; between them others get the GIL.
_PIECE_BYTES: Final = 64 << 10
# Of a list: it ends lists that only claim to be long.
_CLAIMED_MAX: Final = 1 << 20


class ThriftField(NamedTuple):
    """A field of a struct. kind: a Thrift type; a text has kind `bytes`, a struct its class, a list [class]"""

    number: int
    name: str
    kind: Any


def struct(name: str, *fields: ThriftField) -> Any:
    """A class with an attribute for each field; absent ones are None."""
    # As attributes of the class: setting them in each object would take as long as decoding it.
    made = type(name, (), dict.fromkeys(field.name for field in fields))
    spec: list[Any] = [None] * (max(field.number for field in fields) + 1)
    for number, field, kind in fields:
        spec[number] = (number, *_described(kind, field), None)
    _SPECS[made] = [made, tuple(spec)]
    return made


_SPECS: Final[dict[type, list[Any]]] = {}


def _described(kind: Any, name: str) -> tuple[Any, str, Any]:
    """The type, the name and the details of a field, in the library's order."""
    if kind is bytes:
        return TType.STRING, name, "BINARY"
    if isinstance(kind, list):
        (item,) = kind
        return TType.LIST, name, (TType.STRUCT, _SPECS[item], False)
    if isinstance(kind, type):
        return TType.STRUCT, name, _SPECS[kind]
    return kind, name, None


class ThriftMessage:
    """Is read from its beginning to its end. All methods raise WireError."""

    def __init__(self, data: bytes, encoding: Encoding) -> None:
        made = TBinaryProtocolAccelerated if encoding == "binary" else TCompactProtocolAccelerated
        self._encoding, self._pieces, self._size = encoding, _Pieces(data), len(data)
        self._protocol = made(
            self._pieces, string_length_limit=len(data), container_length_limit=min(len(data), _CLAIMED_MAX)
        )

    def struct(self, kind: Any) -> Any:
        """Reads the struct that the message goes on with. kind: its class, made with `struct`"""
        self._pieces.allow(SPAN_BYTES_MAX)
        found = kind()
        # The library's generated code calls it, too.
        self._guarded(self._protocol._fast_decode, found, self._protocol, _SPECS[kind])  # noqa: SLF001
        return found

    def structs(self, kind: Any) -> Iterator[Any]:
        """The items of the list of structs that comes next."""
        self._pieces.allow(SPAN_BYTES_MAX)
        item, count = self._guarded(self._protocol.readListBegin)
        if count and item != STRUCT:
            raise WireError(f"a Thrift list of structs is expected, not of type {item}")
        if count > self._size:
            raise WireError(f"the Thrift list claims to have {count} items in {self._size} bytes")
        for _ in range(count):
            yield self.struct(kind)
        self._guarded(self._protocol.readListEnd)

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of the struct that comes next. Whoever asks has read the value, or skipped it,
        before the next is asked for.
        """
        self._guarded(self._protocol.readStructBegin)
        while True:
            self._pieces.allow(SPAN_BYTES_MAX)
            _, kind, number = self._guarded(self._protocol.readFieldBegin)
            if kind == TType.STOP:
                break
            yield number, kind
            self._guarded(self._protocol.readFieldEnd)
        self._guarded(self._protocol.readStructEnd)

    def skip(self, kind: int) -> None:
        """Passes over the value that comes next. kind: its type"""
        self._guarded(self._protocol.skip, kind)

    def call(self, method: str) -> None:
        """Passes over the beginning of a call of this method, as agents' clients send it; its arguments come next."""
        name, _, _ = self._guarded(self._protocol.readMessageBegin)
        if name != method:
            raise WireError(f"the Thrift call is {str(name)[:40]!r}, not {method}")

    def _guarded(self, read: Callable[..., T], *args: Any) -> T:
        try:
            return walled(read, *args)
        except WireError:
            raise
        except EOFError as err:
            raise WireError(f"the Thrift {self._encoding} message ends too early") from err
        except Exception as err:
            # The library raises what its C code and Python code happen to raise.
            raise WireError(f"not a Thrift {self._encoding} message: {str(err)[:200] or type(err).__name__}") from err


class _Pieces(TTransportBase, CReadableTransport):  # type: ignore[misc]  # Thrift has no types here
    """The bytes of a message, as the decoder asks for them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._allowed = data, 0, len(data)
        self._buffer = BytesIO()

    def allow(self, size: int) -> None:
        """What is read next may have about so many bytes, and no more."""
        self._allowed = self._at + size

    def read(self, size: int) -> bytes:
        """Up to so many bytes, none at the end."""
        found = self._buffer.read(size)
        if not found and size and self._at < len(self._data):
            found = self.cstringio_refill(b"", 1).read(size)
        return found

    # What the decoder in C calls.

    @property
    def cstringio_buf(self) -> BytesIO:
        """The buffer from which the decoder reads; where it ends, the decoder asks for more."""
        return self._buffer

    def cstringio_refill(self, left: bytes, needed: int) -> BytesIO:
        """More of them, behind those that are left. Raises: EOFError if there are fewer than needed in all"""
        size = max(_PIECE_BYTES, needed - len(left))
        if self._at > self._allowed:
            raise WireError(f"a part of the Thrift message has more than {SPAN_BYTES_MAX} bytes; spans can have fewer")
        piece = self._data[self._at : self._at + size]
        if len(left) + len(piece) < needed:
            raise EOFError
        self._at += len(piece)
        self._buffer = BytesIO(left + piece)
        return self._buffer
