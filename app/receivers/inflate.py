"""Compressed request bodies: no more of one is ever in memory than is allowed, and large ones hold up nobody."""

import asyncio
import zlib
from concurrent.futures import Executor
from typing import Any, Final

from zlib_ng import zlib_ng

from tables.errors import WireError

# So much is decompressed at once, within a millisecond or two; what is larger goes on on a thread.
_HERE_BYTES_MAX: Final = 1 << 20
_FAULTS: Final[Any] = (zlib.error, zlib_ng.error)
_GZIP: Final = 31  # wbits: with gzip's header
_ZLIB, _RAW = 15, -15


class UnknownEncoding(ValueError):  # noqa: N818  (says what it is)
    """A Content-Encoding that is not read. HTTP 415."""


class TooLarge(ValueError):  # noqa: N818  (as above)
    """More than is allowed."""


class Inflater:
    """Decompresses one body."""

    def __init__(self, data: bytes, encoding: str, bytes_max: int) -> None:
        """encoding: the value of Content-Encoding. Raises: UnknownEncoding"""
        self._rest, self._bytes_max = data, bytes_max
        self._encoding = encoding.strip().lower()
        match self._encoding:
            case "gzip" | "x-gzip":
                self._wbits = _GZIP
            case "deflate":
                # RFC 9110 says zlib; some send what is in it alone.
                self._wbits = _ZLIB if data[:1] and data[0] & 15 == 8 else _RAW
            case other:
                raise UnknownEncoding(f"Content-Encoding {other[:40]!r} is not known; send gzip, deflate or none")
        self._inflate: Any = zlib_ng.decompressobj(self._wbits)
        self._out: list[bytes] = []
        self._size = 0

    async def all(self, executor: Executor) -> bytes:
        """The body. Raises: TooLarge, WireError"""
        if not self._step(_HERE_BYTES_MAX):
            return await asyncio.get_running_loop().run_in_executor(executor, self._all)
        return b"".join(self._out)

    def _all(self) -> bytes:
        while not self._step(_HERE_BYTES_MAX):
            pass
        return b"".join(self._out)

    def _step(self, bytes_max: int) -> bool:
        """Goes on for about so many bytes; whether that was the end."""
        try:
            piece = self._inflate.decompress(self._rest, bytes_max)
        except _FAULTS as err:
            raise WireError(f"the body is not {self._encoding}: {err}") from err
        self._rest = self._inflate.unconsumed_tail
        self._out.append(piece)
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise TooLarge
        if self._inflate.eof:
            # gzip allows several, one after the other, and zeros behind them.
            self._rest = self._inflate.unused_data.lstrip(b"\0") if self._wbits == _GZIP else b""
            self._inflate = zlib_ng.decompressobj(self._wbits)
            return not self._rest
        if not self._rest and len(piece) < bytes_max:
            raise WireError(f"the body is not {self._encoding}: its end is missing")
        return False
