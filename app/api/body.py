"""Bodies of requests to the query API: few endpoints have one, and it is small."""

import asyncio
from typing import Final

from aiohttp import web

from app.api.errors import ParameterError

# Of some kilobytes; a client that sends them byte by byte holds a connection that others want.
_BODY_S: Final = 10.0


async def body_of(request: web.Request) -> bytes:
    """The whole body. Raises: ParameterError: it does not come"""
    try:
        async with asyncio.timeout(_BODY_S):
            return await request.read()
    except TimeoutError as err:
        raise ParameterError(f"the body was not there within {_BODY_S:g} s") from err
