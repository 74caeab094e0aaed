"""An HTTP/1.1 client that sends any bytes, and says which status came back."""

import asyncio
import errno
import re
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_ANSWER_S: Final = 90.0  # a query is given up by the server after 60 s
_BROKEN_ANSWER_S: Final = 1.0  # a broken frame may leave the server waiting for more


class Connection:
    """One connection, opened again whenever the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes, *, broken: bool) -> tuple[int, bytes]:
        """Status and body; 0 where the server closes the connection without an answer.

        Raises: TimeoutError where no answer comes, OSError where nobody listens
        """
        for _ in range(2):
            fresh = self._streams is None
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            try:
                writer.write(data)
                if broken:
                    return await self._broken_answer(reader, writer)
                async with asyncio.timeout(_ANSWER_S):
                    return await self._answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if fresh:
                    return 0, b""
        return 0, b""

    def close(self) -> None:
        """Ends the connection; the next `ask` opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _broken_answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_BROKEN_ANSWER_S):
                writer.write_eof()
                answer = await reader.read(1 << 20)
        except TimeoutError:
            answer = b""
        except OSError as err:
            if err.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError from err  # closed before we could say that we are done
        finally:
            self.close()
        statuses = [int(status) for status in _STATUS.findall(answer)]
        return max(statuses, default=0), answer

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        found = _STATUS.match(head)
        status = int(found[1]) if found else 0
        if _CHUNKED.search(head):
            body = await _chunks(reader)
        else:
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
        if _CLOSES.search(head):
            self.close()
        return status, body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    out = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        out += await reader.readexactly(size + 2)
    await reader.readuntil(b"\r\n")
    return out
