"""The MCP server: the official SDK's, without sessions, behind one endpoint.

The SDK speaks the protocol. It is an extra of the package: nothing of it is imported before `McpServer.start`.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from prometheus_client import Counter

from app.api.call import call_of
from app.api.errors import explain
from app.api.mcp.asgi import REQUEST, AsgiApp, ask_asgi
from app.api.mcp.guides import GUIDES, URI, guide
from app.api.mcp.tools import TOOLS, Tool, ToolAnswer
from app.errors import SettingsError
from query import memory
from query.errors import TraceQLError

log = logging.getLogger(__name__)

CALLS: Final = Counter("tempo_query_frontend_mcp_calls_total", "Calls of tools of the MCP server.", ["tool"])
ERRORS: Final = Counter(
    "stretto_mcp_call_errors_total",
    "Calls of tools of the MCP server that failed, by HTTP's status.",
    ["tool", "status"],
)
SETTING: Final = "query_frontend.mcp_server.enabled"
_INSTRUCTIONS: Final = (
    "Distributed traces. Find names with get-attribute-names and get-attribute-values, count with "
    "traceql-metrics-instant, find examples with traceql-search, read one with get-trace. docs-traceql explains "
    "queries."
)
_BY_NAME: Final = {tool.name: tool for tool in TOOLS}


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool gave, or why not."""

    answer: ToolAnswer | None = None
    error: str = ""


async def call_tool(request: web.Request, name: str, arguments: dict[str, Any], bytes_max: int) -> ToolOutcome:
    """Runs a tool with the rights and limits of the request. Counts it; errors are texts."""
    tool = _BY_NAME.get(name)
    if tool is None:
        return ToolOutcome(error=f"there is no tool {name[:40]!r}; there are {', '.join(_BY_NAME)}")
    CALLS.labels(name).inc()
    try:
        with memory.request():
            return ToolOutcome(await tool.run(call_of(request), tool.checked(arguments), bytes_max))
    except Exception as err:  # noqa: BLE001 (as errors_as_text: the one place where errors become texts here)
        status, text = explain(err, f"tool {name}")
        ERRORS.labels(name, str(status)).inc()
        hint = "\nThe tool docs-traceql explains TraceQL." if isinstance(err, TraceQLError) else ""
        return ToolOutcome(error=text + hint)


def schema_of(tool: Tool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments."""
    properties = {
        one.name: {"type": "string", "description": one.description, **({"enum": one.choices} if one.choices else {})}
        for one in tool.arguments
    }
    required = [one.name for one in tool.arguments if one.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class McpServer:
    """Answers POST requests between `start` and `stop`."""

    def __init__(self, bytes_max: int, version: str) -> None:
        """bytes_max: of an answer's text. Raises: SettingsError if the SDK is not installed"""
        try:
            import mcp.server.streamable_http_manager  # noqa: F401
        except ImportError as err:
            raise SettingsError(f"{SETTING}: needs the package mcp, which the extra stretto[mcp] installs") from err
        self._bytes_max, self._version = bytes_max, version
        self._app: AsgiApp | None = None
        self._ready, self._stop = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to serve. The SDK's task group must end in the task in which it began, hence one of its own."""
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            waiting.cancel()
            await self._task

    async def stop(self) -> None:
        """Cancels the calls that are running, and returns when they have ended."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        """The answer to a message of the protocol."""
        assert self._app is not None, "used before it was started"
        return await ask_asgi(self._app, request, body)

    async def _run(self) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        manager = StreamableHTTPSessionManager(self._server(), json_response=True, stateless=True)
        async with manager.run():
            self._app = manager.asgi_app
            self._ready.set()
            await self._stop.wait()

    def _server(self) -> Any:
        import mcp_types as types
        from mcp.server.lowlevel.server import Server

        hints = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
        tools = [
            types.Tool(name=one.name, description=one.description, input_schema=schema_of(one), annotations=hints)
            for one in TOOLS
        ]
        resources = [
            types.Resource(uri=URI + name, name=f"TraceQL: {name}", description=about, mime_type="text/markdown")
            for name, about in GUIDES.items()
        ]

        async def list_tools(_: Any, __: Any) -> Any:
            return types.ListToolsResult(tools=tools)

        async def list_resources(_: Any, __: Any) -> Any:
            return types.ListResourcesResult(resources=resources)

        async def read_resource(_: Any, asked: Any) -> Any:
            name = str(asked.uri).removeprefix(URI)
            if name not in GUIDES:
                raise ValueError(f"there is no resource {str(asked.uri)[:80]!r}")
            text = types.TextResourceContents(uri=asked.uri, mime_type="text/markdown", text=guide(name))
            return types.ReadResourceResult(contents=[text])

        async def on_call_tool(context: Any, asked: Any) -> Any:
            request = context.request.scope[REQUEST]
            outcome = await call_tool(request, asked.name, asked.arguments or {}, self._bytes_max)
            answer = outcome.answer
            if answer is None:
                return types.CallToolResult(content=[types.TextContent(text=outcome.error)], is_error=True)
            meta = {"type": answer.kind, "encoding": answer.encoding, "version": answer.version}
            # Built by its alias, as the field's own name is not one that the model takes.
            return types.CallToolResult.model_validate(
                {"content": [{"type": "text", "text": answer.text}], "_meta": meta}
            )

        return Server(
            "stretto",
            version=self._version,
            instructions=_INSTRUCTIONS,
            on_list_tools=list_tools,
            on_call_tool=on_call_tool,
            on_list_resources=list_resources,
            on_read_resource=read_resource,
        )
