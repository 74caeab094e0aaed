"""Remote write 1.0 over HTTP: each request is sent until the target has taken it, or has said that it never will."""

import asyncio
import base64
import email.utils
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
from prometheus_client import Counter, Histogram

log = logging.getLogger(__name__)

SENT = Counter("tempo_metrics_generator_remote_write_requests_total", "Requests that were accepted.", ["target"])
SENT_BYTES = Counter("tempo_metrics_generator_remote_write_bytes_total", "Bytes of accepted requests.", ["target"])
FAILED = Counter(
    "tempo_metrics_generator_remote_write_failures_total",
    "Requests that were not accepted, and are sent again.",
    ["target", "reason"],
)
REFUSED = Counter(
    "tempo_metrics_generator_remote_write_dropped_requests_total",
    "Requests that the target will never take: dropped.",
    ["target", "status"],
)
SECONDS = Histogram("tempo_metrics_generator_remote_write_seconds", "From a request to its answer.", ["target"])

# The content is wrong, or too large: the same bytes will not be right later. All else may be: wrong credentials and
# addresses are corrected by people, overload passes.
_NEVER: Final = frozenset({400, 413, 415, 422})
_HEADERS: Final = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "stretto",
}
_TENANT: Final = "X-Scope-OrgID"
_TEXT_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver. A URL may hold user and password, for basic authentication.

    headers: sent with every request; an `Authorization` for a bearer token
    """

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = 30.0
    backoff_min_s: float = 0.25
    backoff_max_s: float = 30.0


class RemoteWriter:
    """Sends to all targets. untold_tenant: the one whose name is not sent along, as there is no other."""

    def __init__(self, targets: Sequence[Target], untold_tenant: str) -> None:
        self._clients = [_Client(target) for target in targets]
        self._untold = untold_tenant

    async def send(self, tenant: str, bodies: Sequence[bytes]) -> None:
        """Returns when every target has taken or refused each of the requests, in their order."""
        named = {} if tenant == self._untold else {_TENANT: tenant}
        await asyncio.gather(*(client.send(bodies, named) for client in self._clients))

    async def close(self) -> None:
        """Ends the connections."""
        await asyncio.gather(*(client.close() for client in self._clients))


class _Client:
    def __init__(self, target: Target) -> None:
        self._target = target
        parts = urlsplit(target.url)
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._headers = {**_HEADERS, **_basic_auth(parts.username, parts.password), **dict(target.headers)}
        self._label = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, bodies: Sequence[bytes], named: dict[str, str]) -> None:
        for body in bodies:
            await self._send_until_done(body, named)

    async def _send_until_done(self, body: bytes, named: dict[str, str]) -> None:
        backoff_s = self._target.backoff_min_s
        while True:
            status, text, retry_after_s = await self._post(body, named)
            if 200 <= status < 300:
                SENT.labels(self._label).inc()
                SENT_BYTES.labels(self._label).inc(len(body))
                return
            if status in _NEVER:
                REFUSED.labels(self._label, str(status)).inc()
                log.error("remote write: %s refuses a request with status %d: %s", self._label, status, text)
                return
            FAILED.labels(self._label, str(status) if status else "connection").inc()
            # Many workers must not come back at the same moment.
            wait_s = max(retry_after_s, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            said = f"status {status}: {text}" if status else text
            log.warning("remote write: %s does not take a push, again in %.1f s: %s", self._label, wait_s, said)
            await asyncio.sleep(wait_s)
            backoff_s = min(2 * backoff_s, self._target.backoff_max_s)

    async def _post(self, body: bytes, named: dict[str, str]) -> tuple[int, str, float]:
        """Status, what the answer says, seconds to wait if it names any; status 0: no answer."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {**self._headers, **named}
        try:
            with SECONDS.labels(self._label).time():
                async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                    text = (await answer.text(errors="replace"))[:_TEXT_CHARS_MAX].strip()
                    return answer.status, text, retry_after_s(answer.headers.get("Retry-After", ""), time.time())
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            return 0, f"{type(err).__name__}: {err}", 0.0


def _basic_auth(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def retry_after_s(header: str, now_s: float) -> float:
    """Seconds that the header Retry-After asks to wait: a number, or a date; 0 for anything else."""
    if header.strip().isdecimal():
        return float(header)
    try:
        at_s = email.utils.parsedate_to_datetime(header).timestamp()
    except ValueError:
        return 0.0
    return max(0.0, at_s - now_s)
