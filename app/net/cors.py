"""Cross-origin requests: which web pages may send spans from browsers. Names and matching follow the Collector."""

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web

_ANY: Final = "*"
# Browsers ask for none of these.
_ALWAYS: Final = frozenset({"accept", "accept-language", "content-language", "content-type"})
# Allowed where no headers are named.
_BY_DEFAULT: Final = frozenset({"x-requested-with"})
_METHODS: Final = "POST"


class Cors:
    """Decides what pages of other origins may do."""

    def __init__(self, origins: Sequence[str], headers: Sequence[str] = (), max_age_s: int = 0) -> None:
        """origins: `*` in one matches any text; headers: `*`: any; max_age_s: 0: the browser's default"""
        self._all = _ANY in origins
        patterns = (".*".join(re.escape(part) for part in origin.lower().split(_ANY)) for origin in origins)
        self._origins = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
        self._any_header = _ANY in headers
        self._headers = _ALWAYS | ({name.lower() for name in headers} if headers else _BY_DEFAULT)
        self._max_age_s = max_age_s

    async def preflight(self, request: web.Request) -> web.Response:
        """Answers a preflight request. A refused one gets 403 with the reason."""
        origin, method = request.headers.get(hdrs.ORIGIN), request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if origin is None or method is None:
            raise web.HTTPMethodNotAllowed("OPTIONS", [_METHODS])
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        names = [name.strip().lower() for name in asked.split(",") if name.strip()]
        wrong = [] if self._any_header else [name for name in names if name not in self._headers]
        if not self._allows(origin):
            return web.Response(status=403, text="this origin is not in cors.allowed_origins")
        if method != _METHODS:
            return web.Response(status=403, text=f"only {_METHODS} is allowed")
        if wrong:
            return web.Response(status=403, text=f"not in cors.allowed_headers: {', '.join(wrong)[:200]}")
        response = web.Response(status=204, headers={hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS})
        if names:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ", ".join(names)
        if self._max_age_s:
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(self._max_age_s)
        response.headers[hdrs.VARY] = "Access-Control-Request-Method, Access-Control-Request-Headers"
        return response

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Adds the header that lets the page read this answer, if it may."""
        origin = request.headers.get(hdrs.ORIGIN)
        if not self._all:
            # A cache must not give one origin's answer to another.
            vary = response.headers.get(hdrs.VARY)
            response.headers[hdrs.VARY] = f"{vary}, Origin" if vary else "Origin"
        if origin is None or not self._allows(origin):
            return
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = _ANY if self._all else origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = hdrs.RETRY_AFTER
        if not self._all:
            # sendBeacon, which exporters use, sends as if there were cookies. There are none here.
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    def _allows(self, origin: str) -> bool:
        return self._all or self._origins.fullmatch(origin.lower()) is not None
