"""Tempo's form of answers for language models, over HTTP."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from app.cli.vulture.known_trace import KnownTrace, known_trace
from tests.helpers.live.whole_way import Way
from tests.helpers.querying.api import api_over, serving
from tests.helpers.querying.engine import Engine


@pytest.fixture
def trace() -> KnownTrace:
    return known_trace("llm", 1_795_259_580)


@pytest.fixture
def engine(trace: KnownTrace) -> Engine:
    return Engine([Way(trace.whole().SerializeToString()).source])


def test_the_form_for_language_models_over_http(trace: KnownTrace, engine: Engine) -> None:
    """Tempo's: services, scopes, spans, plain values; values of attributes by type."""

    async def use(url: str) -> tuple[str, Any, Any, Any]:
        headers = {"Accept": "application/vnd.grafana.llm"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{url}/api/v2/traces/{trace.hex_id}") as reply:
                kind, opened = reply.content_type, json.loads(await reply.text())
            async with session.get(f"{url}/api/v2/traces/12") as reply:
                nothing = json.loads(await reply.text())
            async with session.get(f"{url}/api/v2/search/tag/resource.service.name/values") as reply:
                return kind, opened, nothing, json.loads(await reply.text())

    got: Any = asyncio.run(serving(api_over(engine), use))
    kind, opened, nothing, values = got
    assert kind == "application/vnd.grafana.llm+json"
    assert (opened["trace"]["traceId"], opened["status"], nothing) == (trace.hex_id, "COMPLETE", {})
    shown = {span["spanId"]: span for span in _spans(opened)}
    root = trace.spans[0].span
    span = shown[root.span_id.hex()]
    assert len(shown) == len(trace.spans)
    assert (span["name"], span["kind"], span["startTimeUnixNano"], span["durationMs"]) == (
        root.name,
        "SPAN_KIND_SERVER",
        str(root.start_time_unix_nano),
        1999.0,
    )
    assert "status" in span
    assert span["attributes"]["vulture.token"] == trace.token
    assert set(values["tagValues"]["string"]) == {trace.service_name(one) for one in trace.spans}


def _spans(opened: Any) -> list[Any]:
    return [span for one in opened["trace"]["services"] for scope in one["scopes"] for span in scope["spans"]]
