"""POST /api/mcp: the Model Context Protocol, streamable HTTP without sessions and streams."""

import asyncio
from typing import Final

from aiohttp import hdrs, web

from app.api.call import tenant_of_request
from app.api.errors import ParameterError, plain_text
from app.api.mcp.server import SETTING, McpServer

routes = web.RouteTableDef()
# Of a body of some hundred bytes; a client that sends it byte by byte waits for nobody.
_BODY_S: Final = 10.0
MCP: Final = web.AppKey("mcp", McpServer)


@routes.post("/api/mcp")
async def mcp(request: web.Request) -> web.Response:
    """A message of the protocol, and its answer as JSON."""
    server = request.app.get(MCP)
    if server is None:
        return plain_text(404, f"there is no MCP server here: the setting {SETTING} is off")
    tenant_of_request(request)
    if hdrs.ORIGIN in request.headers:
        # A page of another site could reach a server on the reader's machine by a name of its own.
        return plain_text(403, "the MCP server answers no web pages: send no header Origin")
    try:
        async with asyncio.timeout(_BODY_S):
            body = await request.read()
    except TimeoutError as err:
        raise ParameterError(f"the body was not there within {_BODY_S:.0f} s") from err
    return await server.answer(request, body)


def add_mcp(app: web.Application, server: McpServer) -> None:
    """Serves it as long as the application is served."""
    app[MCP] = server

    async def start(_: web.Application) -> None:
        await server.start()

    async def stop(_: web.Application) -> None:
        await server.stop()

    app.on_startup.append(start)
    app.on_cleanup.append(stop)
