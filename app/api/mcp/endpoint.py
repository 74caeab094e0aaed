"""POST /api/mcp: the Model Context Protocol, streamable HTTP without sessions and streams."""

from typing import Final

from aiohttp import hdrs, web

from app.api.body import body_of
from app.api.call import tenant_of_request
from app.api.errors import plain_text
from app.api.mcp.server import SETTING, McpServer

routes = web.RouteTableDef()
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
    return await server.answer(request, await body_of(request))


def add_mcp(app: web.Application, server: McpServer) -> None:
    """Serves it as long as the application is served."""
    app[MCP] = server

    async def start(_: web.Application) -> None:
        await server.start()

    async def stop(_: web.Application) -> None:
        await server.stop()

    app.on_startup.append(start)
    app.on_cleanup.append(stop)
