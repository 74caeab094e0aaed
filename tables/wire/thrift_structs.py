"""Structs of Thrift for the decoder in C of Apache's library, and a safe way to call it.

A struct is declared by its fields, as its IDL has them; no code is generated. Texts stay bytes: OTLP takes them so.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

from tables.errors import WireError
from tables.wall import walled

Encoding = Literal["binary", "compact"]

I16, I32, I64, DOUBLE, BOOL, BYTE = TType.I16, TType.I32, TType.I64, TType.DOUBLE, TType.BOOL, TType.BYTE
STRUCT: Final = TType.STRUCT

# More than a message of some megabytes can hold; it ends lists that only claim to be long.
_ITEMS_MAX: Final = 1 << 20


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


def decode_struct(kind: Any, data: bytes, encoding: Encoding) -> Any:
    """A struct from its bytes; what follows it is ignored. Raises: WireError"""
    return _guarded(lambda protocol: _struct(kind, protocol), data, encoding)


def decode_list(kind: Any, data: bytes, encoding: Encoding) -> list[Any]:
    """A bare list of structs. Raises: WireError"""

    def read(protocol: Any) -> list[Any]:
        item, count = protocol.readListBegin()
        if item != TType.STRUCT:
            raise WireError(f"a Thrift list of structs is expected, not of type {item}")
        if count > len(data):
            raise WireError(f"the Thrift list claims to have {count} items in {len(data)} bytes")
        return [_struct(kind, protocol) for _ in range(count)]

    found: list[Any] = _guarded(read, data, encoding)
    return found


def decode_call(arguments: Any, data: bytes, encoding: Encoding, methods: Sequence[str]) -> Any:
    """The arguments of a call, as agents' clients send it in a datagram. Raises: WireError"""

    def read(protocol: Any) -> Any:
        name, _, _ = protocol.readMessageBegin()
        if name not in methods:
            raise WireError(f"the Thrift call is {str(name)[:40]!r}, not {' or '.join(methods)}")
        return _struct(arguments, protocol)

    return _guarded(read, data, encoding)


def _struct(kind: Any, protocol: Any) -> Any:
    found = kind()
    protocol._fast_decode(found, protocol, _SPECS[kind])  # noqa: SLF001  (the library's generated code calls it, too)
    return found


def _guarded(read: Callable[[Any], Any], data: bytes, encoding: Encoding) -> Any:
    made = TBinaryProtocolAccelerated if encoding == "binary" else TCompactProtocolAccelerated
    protocol = made(
        TMemoryBuffer(data), string_length_limit=len(data), container_length_limit=min(len(data), _ITEMS_MAX)
    )
    try:
        return walled(lambda: read(protocol))
    except WireError:
        raise
    except EOFError as err:
        raise WireError(f"the Thrift {encoding} message ends too early") from err
    except Exception as err:
        # The library raises what its C code and Python code happen to raise.
        raise WireError(f"not a Thrift {encoding} message: {str(err)[:200] or type(err).__name__}") from err
