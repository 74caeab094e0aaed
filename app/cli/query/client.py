"""A client of the HTTP API, with the standard library alone."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from app.errors import StrettoError
from app.net.tenant import HEADER

TIMEOUT_S: Final = 120.0
DEBUG: Final = "X-Stretto-Debug"
_ANSWER_BYTES_MAX: Final = 1 << 30
_TEXT_CHARS_MAX: Final = 2000


class QueryError(StrettoError):
    """The server does not answer, or answers with an error; its text."""


@dataclass(frozen=True, slots=True)
class Api:
    """url: without a path, or with that of a proxy; tenant, token: "" for none"""

    url: str
    tenant: str = ""
    token: str = ""

    def get(self, path: str, params: Mapping[str, Any], on_debug: Callable[[str], object] | None = None) -> Any:
        """The JSON of a GET; parameters that are None are not sent. Raises: QueryError

        on_debug: requests the query's profile, and gets it as JSON
        """
        query = urlencode({name: value for name, value in params.items() if value is not None})
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if self.tenant:
            headers[HEADER] = self.tenant
        if on_debug is not None:
            headers[DEBUG] = "1"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise QueryError(f"--url {self.url}: expected http://host:port or https://host")
        request = urllib.request.Request(f"{self.url.rstrip('/')}{quote(path)}?{query}", headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 (the scheme was looked at)
                if on_debug is not None and (debug := reply.headers.get(DEBUG)):
                    on_debug(debug)
                return json.loads(_body(reply))
        except urllib.error.HTTPError as err:
            text = _body(err)[:_TEXT_CHARS_MAX].decode(errors="replace").strip()
            raise QueryError(f"{err.code}: {text or err.reason}") from err
        except (OSError, HTTPException) as err:
            why = getattr(err, "reason", None) or err
            raise QueryError(f"{self.url} does not answer: {why}; --url says where the server is") from err
        except ValueError as err:
            raise QueryError(f"{self.url} does not answer in JSON: is it Stretto's or Tempo's API?") from err


def _body(reply: Any) -> bytes:
    body: bytes = reply.read(_ANSWER_BYTES_MAX)
    return gzip.decompress(body) if reply.headers.get("Content-Encoding") == "gzip" else body
