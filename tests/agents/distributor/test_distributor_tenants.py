"""Topic otlp_spans: whose a message is. One that does not say it clearly is skipped and counted, never guessed."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from agents.distributor import agent
from agents.distributor.agent import SKIPPED
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.span_writer import Outcome

HEADER = "X-Scope-OrgID"


class Writer:
    def __init__(self):
        self.got = []

    async def write(self, requests):
        self.got += requests
        return [Outcome(1)] * len(requests)


SOURCE = TopicSource(["t"], tenant="default")


def written(headers_of_each, source=SOURCE, keys=None):
    """Sends a message per set of headers; what was written, and the offsets that were committed."""
    writer, committed = Writer(), {}

    async def commit_through(ends):
        committed.update(ends)

    consumer = SimpleNamespace(commit_through=commit_through)
    app = SimpleNamespace(consumer_generation_id=1, consumer=consumer)

    async def main():
        batcher = agent._Batcher(app, writer, TopicSources([source]))
        for offset, headers in enumerate(headers_of_each):
            key = keys[offset] if keys else None
            message = SimpleNamespace(
                value=b"spans",
                timestamp=1.0,
                key=key,
                headers=headers,
                generation_id=1,
                topic="t",
                partition=0,
                offset=offset,
                tp=TP("t", 0),
            )
            await batcher.add(SimpleNamespace(message=message))
        await batcher._write()
        batcher._timer.cancel()

    asyncio.run(main())
    return [request.tenant for request in writer.got], committed


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        pytest.param(None, "default", id="no headers"),
        pytest.param([("other", b"x")], "default", id="another header"),
        pytest.param([(HEADER, b"a")], "a", id="a tenant"),
        pytest.param({HEADER.lower(): b"a"}, "a", id="in a mapping"),
        pytest.param([(HEADER, b"a"), (HEADER.lower(), b"b")], None, id="two"),
        pytest.param([(HEADER, b"a"), (HEADER, b"a")], None, id="one twice"),
        pytest.param([(HEADER, b"a/b")], None, id="no name"),
        pytest.param([(HEADER, b"a,b")], None, id="two in one"),
        pytest.param([(HEADER, b"")], None, id="empty"),
        pytest.param([(HEADER, None)], None, id="no value"),
        pytest.param([(HEADER, b"\xff")], None, id="no text"),
    ],
)
def test_whose(headers, tenant):
    """Its neighbours are written, its offset is committed."""
    before = SKIPPED.labels("tenant")._value.get()
    tenants, committed = written([[(HEADER, b"n")], headers, [(HEADER, b"n")]])
    assert tenants == ["n", *([tenant] if tenant else []), "n"]
    assert committed == {TP("t", 0): 3}
    assert SKIPPED.labels("tenant")._value.get() - before == (tenant is None)


@pytest.mark.parametrize(
    ("source", "key", "headers", "tenant"),
    [
        pytest.param({"tenant_from": "key"}, b"a", [(HEADER, b"b")], "a", id="the key"),
        pytest.param({"tenant_from": "key"}, None, [(HEADER, b"b")], "default", id="no key"),
        pytest.param({"tenant_from": "key"}, b"", None, "default", id="an empty key"),
        pytest.param({"tenant_from": "key"}, b"a/b", None, None, id="a key that is no name"),
        pytest.param({"tenant_from": "key"}, bytes(16), None, None, id="a trace id as key"),
        pytest.param({"tenant_from": "setting"}, b"a", [(HEADER, b"b")], "default", id="the setting"),
        pytest.param({"header": "x-team"}, b"a", [(HEADER, b"b"), ("X-Team", b"c")], "c", id="another header"),
        pytest.param({"header": "x-team"}, b"a", [(HEADER, b"b")], "default", id="another header, not there"),
    ],
)
def test_what_names_the_tenant(source, key, headers, tenant):
    """The setting of the topic decides whether it is a header or the key, and of whom the others are."""
    made = TopicSource(["t"], tenant="default", **source)
    assert written([headers], made, [key]) == ([tenant] if tenant else [], {TP("t", 0): 1})


def test_nothing_to_write():
    """A batch of such messages alone is passed over."""
    assert written([[(HEADER, b"a,b")]]) == ([], {TP("t", 0): 1})
