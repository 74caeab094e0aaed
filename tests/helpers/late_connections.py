"""Connections that asyncio has accepted when their server closes.

Python 3.11 makes a transport for such a one, which then fails, and stays open until the garbage collector finds it: in
a later test, that fails for it. A client that is given up at the end of a test makes such connections, where the
machine is busy. uvloop, with which Stretto runs, has no such gap.
Source: asyncio.selector_events.BaseSelectorEventLoop._accept_connection2, asyncio.base_events.Server._attach
"""

from asyncio import Server
from asyncio.selector_events import BaseSelectorEventLoop
from functools import wraps
from socket import socket
from typing import Any


def close_late_connections() -> None:
    """From now on asyncio closes them."""
    loops: Any = BaseSelectorEventLoop
    accept = loops._accept_connection2

    @wraps(accept)
    async def accept_or_close(
        loop: Any,
        protocol: Any,
        connection: socket,
        extra: Any,
        tls: Any = None,
        server: Server | None = None,
        *rest: Any,
    ) -> None:
        if server is not None and not server.is_serving():
            connection.close()
            return
        await accept(loop, protocol, connection, extra, tls, server, *rest)

    loops._accept_connection2 = accept_or_close
