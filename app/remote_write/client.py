"""Remote write over HTTP: retries each request until the target accepts it, or rejects it for good."""

import asyncio
import email.utils
import logging
import random
import time
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pyarrow as pa
from prometheus_client import Counter, Gauge, Histogram

from agents.generator.push.push import Push
from app.remote_write.credentials import ClientTls, CredentialsError, authorization
from app.settings.sections.remote_write import WRITE_2, RemoteWrite

log = logging.getLogger(__name__)

SENT = Counter(
    "tempo_metrics_generator_remote_write_requests_total",
    "Remote-write requests that the target accepted.",
    ["target", "tenant"],
)
SENT_BYTES = Counter(
    "tempo_metrics_generator_remote_write_bytes_total", "Bytes of the accepted remote-write requests.", ["target"]
)
FAILED = Counter(
    "tempo_metrics_generator_remote_write_failures_total",
    "Failed remote-write requests that are retried.",
    ["target", "tenant", "reason"],
)
REFUSED = Counter(
    "tempo_metrics_generator_remote_write_dropped_requests_total",
    "Remote-write requests that were dropped because the target rejects their content.",
    ["target", "tenant", "status"],
)
SECONDS = Histogram(
    "tempo_metrics_generator_remote_write_seconds", "Time from a remote-write request to its response.", ["target"]
)
UNDER_WAY = Gauge(
    "tempo_metrics_generator_remote_write_requests_under_way", "Remote-write requests in flight.", ["target"]
)
PROTOCOL = Gauge(
    "tempo_metrics_generator_remote_write_protocol", "Remote-write version in use for a target: 1 or 2.", ["target"]
)

# The content is wrong, or too large: the same bytes will not be right later. All else may be: wrong credentials and
# addresses are corrected by people, overload passes.
_BAD: Final = 400
_NEVER: Final = frozenset({_BAD, 413, 415, 422})
_UNSUPPORTED: Final = frozenset({_BAD, 415})
_ENCODED: Final = {"Content-Encoding": "snappy", "User-Agent": "stretto"}
_HEADERS: Final = {
    1: {**_ENCODED, "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"},
    2: {
        **_ENCODED,
        "Content-Type": f"application/x-protobuf;proto={WRITE_2}",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    },
}
_WRITTEN: Final = tuple(f"X-Prometheus-Remote-Write-{what}-Written" for what in ("Samples", "Histograms", "Exemplars"))
_TENANT: Final = "X-Scope-OrgID"
_TEXT_CHARS_MAX: Final = 300
_SNAPPY: Final = pa.Codec("snappy")
# A target that did not accept 2.0 is tried again after this time: it may have been upgraded.
_ASK_AGAIN_S: Final = 3600.0
_RETRY_AFTER_MAX_S: Final = 300.0


class _Answer(NamedTuple):
    """status 0: no answer; wait_s: requested by Retry-After; written: whether it reports what it has written"""

    status: int
    text: str
    wait_s: float = 0.0
    written: bool = False


class _Unsupported(Exception):  # noqa: N818  (says what it is)
    """The target does not support remote write 2.0."""


class RemoteWriter:
    """One target. untold_tenant: the tenant whose name is not sent, because it is the only one"""

    def __init__(self, config: RemoteWrite, name: str, untold_tenant: str) -> None:
        self.name, self.pushes_max = name, config.queue_config.max_pushes
        self._config, self._untold = config, untold_tenant
        self._parts = urlsplit(config.url)
        self._url = urlunsplit(self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]))
        self._own = {header: value.get_secret_value() for header, value in config.headers.items()}
        self._tls = ClientTls(config.tls_config) if self._parts.scheme == "https" else None
        self._places = asyncio.Semaphore(config.queue_config.max_shards)
        self._session: aiohttp.ClientSession | None = None
        self._asked_s: float | None = None  # when it did not take 2.0, on the monotonic clock

    async def close(self) -> None:
        """Closes the connections to the target."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, tenant: str, push: Push) -> None:
        """Returns when the target has accepted or rejected each request of the push, in order."""
        version = self._version()
        try:
            await self._send_as(version, tenant, push)
        except _Unsupported:
            log.warning("remote write: %s does not take remote write 2.0; it gets 1.0", self.name)
            self._asked_s = time.monotonic()
            await self._send_as(self._version(), tenant, push)

    def _version(self) -> int:
        wanted = self._config.protobuf_message == WRITE_2
        if self._asked_s is not None and time.monotonic() - self._asked_s < _ASK_AGAIN_S:
            wanted = False
        PROTOCOL.labels(self.name).set(2 if wanted else 1)
        return 2 if wanted else 1

    async def _send_as(self, version: int, tenant: str, push: Push) -> None:
        bodies = push.requests(
            self._config.queue_config.max_samples_per_send,
            version,
            exemplars=self._config.send_exemplars,
            natives=self._config.send_native_histograms,
        )
        # Off the loop, where nothing waits for it; one at a time, as only one is in memory then.
        while (body := await asyncio.to_thread(_next_compressed, bodies)) is not None:
            await self._send_until_done(version, tenant, body, again=push.again)

    async def _send_until_done(self, version: int, tenant: str, body: bytes, *, again: bool) -> None:
        queue = self._config.queue_config
        backoff_s = queue.min_backoff_s
        while True:
            status, text, asked_s, written = await self._post(version, tenant, body)
            taken = 200 <= status < 300
            # A receiver that knows 2.0 reports what it has written, even when it refuses. One that does not may accept
            # everything: to it the content seems to be empty.
            if version > 1 and not written and (taken or status in _UNSUPPORTED):
                raise _Unsupported
            if taken:
                SENT.labels(self.name, tenant).inc()
                SENT_BYTES.labels(self.name).inc(len(body))
                return
            if again and status == _BAD:
                log.info("remote write: %s refuses what it may have got before the restart: %s", self.name, text)
                return
            if status in _NEVER:
                REFUSED.labels(self.name, tenant, str(status)).inc()
                log.error("remote write: %s refuses a request of %s, status %d: %s", self.name, tenant, status, text)
                return
            FAILED.labels(self.name, tenant, str(status) if status else "connection").inc()
            # Many workers must not come back at the same moment.
            wait_s = max(asked_s, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            said = f"status {status}: {text}" if status else text
            log.warning(
                "remote write: %s does not take a push of %s, again in %.1f s: %s", self.name, tenant, wait_s, said
            )
            await asyncio.sleep(wait_s)
            backoff_s = min(2 * backoff_s, queue.max_backoff_s)

    async def _post(self, version: int, tenant: str, body: bytes) -> _Answer:
        """Sends one request. The number of concurrent requests is limited; one that waits for its retry does not
        count.
        """
        async with self._places:
            try:
                headers, session = self._headers(version, tenant), await self._connected()
                server_name = self._config.tls_config.server_name or None
                with SECONDS.labels(self.name).time(), UNDER_WAY.labels(self.name).track_inprogress():
                    async with session.post(
                        self._url, data=body, headers=headers, allow_redirects=False, server_hostname=server_name
                    ) as answer:
                        text = (await answer.text(errors="replace"))[:_TEXT_CHARS_MAX].strip()
                        asked_s = retry_after_s(answer.headers.get("Retry-After", ""), time.time())
                        written = any(name in answer.headers for name in _WRITTEN)
                        return _Answer(answer.status, text, min(asked_s, _RETRY_AFTER_MAX_S), written)
            except (aiohttp.ClientError, TimeoutError, OSError, CredentialsError) as err:
                return _Answer(0, f"{type(err).__name__}: {err}")

    def _headers(self, version: int, tenant: str) -> dict[str, str]:
        """The headers of a request. Raises: CredentialsError"""
        headers = {**self._own, **_HEADERS[version]}
        if tenant != self._untold:
            headers = {name: value for name, value in headers.items() if name.lower() != _TENANT.lower()}
            headers[_TENANT] = tenant
        if who := authorization(self._config, self._parts):
            headers["Authorization"] = who
        return headers

    async def _connected(self) -> aiohttp.ClientSession:
        """The session, with current certificates. Raises: CredentialsError"""
        context, is_new = self._tls.context() if self._tls is not None else (None, False)
        if self._session is not None and is_new:
            old, self._session = self._session, None
            await old.close()
        if self._session is None:
            shards = self._config.queue_config.max_shards
            connector = aiohttp.TCPConnector(limit=shards, ssl=context if context is not None else True)
            timeout = aiohttp.ClientTimeout(total=self._config.remote_timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self._session


def remote_writers(configs: tuple[RemoteWrite, ...], untold_tenant: str) -> list[RemoteWriter]:
    """The targets, each with a distinct name: the setting, or else host and port."""
    names: list[str] = []
    for config in configs:
        name = config.name or urlsplit(config.url).netloc.rpartition("@")[2]
        while name in names:
            name += "'"
        names.append(name)
    return [RemoteWriter(config, name, untold_tenant) for config, name in zip(configs, names, strict=True)]


def _next_compressed(bodies: Iterator[bytes]) -> bytes | None:
    body = next(bodies, None)
    return None if body is None else bytes(_SNAPPY.compress(body, asbytes=True))


def retry_after_s(header: str, now_s: float) -> float:
    """Seconds of the header Retry-After, a number or a date; 0 for anything else."""
    if header.strip().isdecimal():
        return float(header)
    try:
        at_s = email.utils.parsedate_to_datetime(header).timestamp()
    except ValueError:
        return 0.0
    return max(0.0, at_s - now_s)
