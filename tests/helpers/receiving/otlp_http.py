"""A request to a receiver of OTLP over HTTP, and what came of it."""

import asyncio
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.receivers.http_body import BodyLimits
from app.receivers.input_budget import InputBudget
from app.receivers.otlp.http import build_http_receiver
from tests.helpers.receiving.receivers import FakeBatcher

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
TAKEN = Outcome(1)
LIMITS = BodyLimits(10_000, 5_000, 0.5)


def post(
    body: bytes,
    headers: Mapping[str, str],
    answer: Outcome | Exception = TAKEN,
    *,
    multitenancy: bool = False,
    limits: BodyLimits | None = None,
    budget: InputBudget | None = None,
) -> tuple[int, dict[str, str], bytes, FakeBatcher]:
    batcher = FakeBatcher(answer)

    async def run() -> tuple[int, dict[str, str], bytes]:
        access = Access(multitenancy=multitenancy)
        app = build_http_receiver(batcher, access, limits or LIMITS, budget)  # type: ignore[arg-type]
        server = TestServer(app)
        await server.start_server(auto_decompress=False)  # as http_runner
        async with TestClient(server) as client:
            reply = await client.post("/v1/traces", data=BytesIO(body), headers=headers)
            return reply.status, dict(reply.headers), await reply.read()

    return *asyncio.run(run()), batcher


SPAN = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "parentSpanId": ""}


def wrapped(span: dict[str, Any], *, snake: bool = False) -> bytes:
    names = ("resource_spans", "scope_spans") if snake else ("resourceSpans", "scopeSpans")
    return json.dumps({names[0]: [{names[1]: [{"spans": [span]}]}]}).encode()
