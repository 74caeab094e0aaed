"""GET /: the web page, for all of its paths, and its files. It needs no token: it holds no data, and asks for one."""

import asyncio
from typing import Final

from aiohttp import web

from app.api.errors import plain_text
from app.api.page.files import ASSETS, INDEX, PageFile, PageFiles

routes = web.RouteTableDef()

FILES: Final = web.AppKey("page_files", PageFiles)
# The views of app/ui/src/views/index.ts. The page itself finds out which it is.
VIEWS: Final = ("/", "/search", "/services", "/charts", "/compare", "/status", "/start", "/trace/{id:.+}")
_OTHERS: Final = ("favicon.svg", "licenses.txt")
# As aiohttp writes them: without the pattern of a part.
OPEN: Final = frozenset(
    {*(path.replace(":.+}", "}") for path in VIEWS), f"/{ASSETS}{{name}}", *(f"/{name}" for name in _OTHERS)}
)

# Nothing of other hosts, nothing inline, no eval; nobody shows this page within theirs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_MISSING: Final = """\
Stretto runs, but its web page is not built.

  make ui     builds it (with Node 20 or newer, or with Node from a Python wheel), then load this again
  docs/api.md describes the query API, which works without the page
"""


async def view(request: web.Request) -> web.StreamResponse:
    """The page, whichever of its views the path names."""
    files = await asyncio.to_thread(request.app[FILES].current)
    index = files.get(INDEX)
    return plain_text(404, _MISSING) if index is None else _answer(request, index)


for _path in VIEWS:
    routes.get(_path)(view)


@routes.get(f"/{ASSETS}{{name}}")
async def asset(request: web.Request) -> web.StreamResponse:
    """A script or style of the page. Its name changes with what it holds: browsers keep it."""
    return await _file(request, ASSETS + request.match_info["name"])


@routes.get("/favicon.svg")
async def favicon(request: web.Request) -> web.StreamResponse:
    """The icon of the page."""
    return await _file(request, "favicon.svg")


@routes.get("/licenses.txt")
async def licences(request: web.Request) -> web.StreamResponse:
    """The licences of the packages of which something is in the page."""
    return await _file(request, "licenses.txt")


async def _file(request: web.Request, name: str) -> web.StreamResponse:
    files = request.app[FILES]
    found = files.known().get(name) or (await asyncio.to_thread(files.current)).get(name)
    if found is None:
        raise web.HTTPNotFound
    return _answer(request, found)


def _answer(request: web.Request, file: PageFile) -> web.StreamResponse:
    coding, body = file.best(request.headers.get("Accept-Encoding", ""))
    etag = f'"{file.etag}-{coding}"'
    headers = {
        **_SAFE,
        "Vary": "Accept-Encoding",
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if file.immutable else "no-cache",
    }
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    if coding != "identity":
        headers["Content-Encoding"] = coding
    # As a header: `content_type=` refuses one with a charset.
    return web.Response(body=body, headers={**headers, "Content-Type": file.content_type})
