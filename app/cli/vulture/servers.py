"""The two ends that vulture talks to: the receiver that it sends traces to, and the API that it asks."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import grpc

from app.cli.demo.command import CHANNEL, EXPORT

_ANSWER_BYTES_MAX: Final = 64 << 20
_TEXT_CHARS_MAX: Final = 500


class RequestFailed(Exception):  # noqa: N818 (says what it is)
    """A request that was not answered, or with an error; its text says which."""


class TraceSender(Protocol):
    """Where traces go."""

    async def send(self, request: bytes) -> None:
        """Sends an ExportTraceServiceRequest; returns when it is acknowledged. Raises: RequestFailed"""
        ...

    async def close(self) -> None: ...


class OtlpGrpcSender:
    """OTLP over gRPC."""

    def __init__(self, where: str, ca: bytes | None, headers: Mapping[str, str], timeout_s: float) -> None:
        """where: host:port, with https:// in front for TLS. ca: PEM; None: gRPC's own list"""
        scheme, _, target = where.rpartition("://")
        self._headers = tuple((name.lower(), value) for name, value in headers.items())
        self._timeout_s = timeout_s
        if scheme == "https":
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca), options=CHANNEL)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=CHANNEL)
        self._export = self._channel.unary_unary(EXPORT)

    async def send(self, request: bytes) -> None:
        try:
            await self._export(request, timeout=self._timeout_s, metadata=self._headers)
        except grpc.aio.AioRpcError as err:
            raise RequestFailed(f"{err.code().name}: {err.details()}") from err

    async def close(self) -> None:
        await self._channel.close(None)


class OtlpHttpSender:
    """OTLP over HTTP, as protobuf."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        """url: without a path, or with that of the endpoint. session: with the headers of each request"""
        self._url = url if url.rstrip("/").endswith("/v1/traces") else f"{url.rstrip('/')}/v1/traces"
        self._session = session

    async def send(self, request: bytes) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        try:
            async with self._session.post(self._url, data=request, headers=headers) as reply:
                if reply.status != 200:
                    raise RequestFailed(f"{reply.status}: {(await reply.text(errors='replace'))[:_TEXT_CHARS_MAX]}")
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise RequestFailed(_why(err)) from err

    async def close(self) -> None:
        """The session belongs to who made it."""


@dataclass(frozen=True, slots=True)
class QueryApi:
    """The query API. session: with the headers of each request"""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, params: Mapping[str, Any]) -> Any:
        """The JSON of an answer. Raises: RequestFailed"""
        url = f"{self.url.rstrip('/')}{quote(path, safe='/%')}"
        texts = {name: str(value) for name, value in params.items()}
        try:
            async with self.session.get(url, params=texts, headers={"Accept": "application/json"}) as reply:
                body = await reply.content.read(_ANSWER_BYTES_MAX)
                while not reply.content.at_eof() and len(body) < _ANSWER_BYTES_MAX:
                    body += await reply.content.read(_ANSWER_BYTES_MAX - len(body))
                if reply.status != 200:
                    text = body[:_TEXT_CHARS_MAX].decode(errors="replace").strip()
                    raise RequestFailed(f"{reply.status}: {text}")
            answer = json.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise RequestFailed(_why(err)) from err
        except ValueError as err:
            raise RequestFailed("the answer is no JSON") from err
        if not isinstance(answer, dict):
            raise RequestFailed("the answer is no JSON object")
        return answer


def _why(err: Exception) -> str:
    return str(err) or type(err).__name__


async def closed(receiver: TraceSender, *sessions: aiohttp.ClientSession) -> None:
    """Closes all of them."""
    await asyncio.gather(receiver.close(), *(session.close() for session in sessions))
