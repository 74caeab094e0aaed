"""A connection that comes when a server of a test closes does not fail a later test."""

import asyncio
import gc
import socket
import warnings

import pytest
from aiohttp import web


@pytest.mark.parametrize("turns", range(6))
def test_nothing_stays_open(turns: int) -> None:
    """turns: of the loop, between the connection and the end of the server; two are enough to accept it"""

    async def main() -> None:
        runner = web.AppRunner(web.Application(), shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with socket.create_connection(runner.addresses[0]):
            for _ in range(turns):
                await asyncio.sleep(0)
            await runner.cleanup()

    gc.collect()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [str(one.message) for one in left if one.category is ResourceWarning] == []
