"""aiohttp's own errors as answers that nothing keeps.

A path that does not exist, a method that is not allowed: aiohttp keeps the error with the request, and the error knows
by its traceback each function that has the request. Such a cycle, with connection and buffers, stays until a full
garbage collection, which is rare here (`app.main`): clients could fill the memory with it.
"""

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from tables.errors import as_value

_OF_THE_TEXT: Final = (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)


def as_response(err: web.HTTPException) -> web.Response:
    """The response that aiohttp would send for the error."""
    as_value(err)
    headers = {name: value for name, value in err.headers.items() if name not in _OF_THE_TEXT}
    return web.Response(status=err.status, reason=err.reason, text=err.text, headers=headers)


@web.middleware
async def errors_as_responses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For a server without errors of its own."""
    try:
        return await handler(request)
    except web.HTTPException as err:
        return as_response(err)
