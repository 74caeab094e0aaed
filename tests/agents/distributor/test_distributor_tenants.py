"""Topic otlp_spans: whose a message is. One that does not say it clearly is skipped and counted, never guessed."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from agents.distributor import agent
from agents.distributor.agent import SKIPPED
from agents.distributor.span_writer import Outcome

HEADER = "X-Scope-OrgID"


class Writer:
    def __init__(self):
        self.got = []

    async def write(self, requests):
        self.got += requests
        return [Outcome(1)] * len(requests)


def written(headers_of_each):
    """Sends a message per set of headers; what was written, and the offsets that were committed."""
    writer, committed = Writer(), {}

    async def commit_through(ends):
        committed.update(ends)

    consumer = SimpleNamespace(commit_through=commit_through)
    app = SimpleNamespace(consumer_generation_id=1, consumer=consumer)

    async def main():
        batcher = agent._Batcher(app, writer, "default")
        for offset, headers in enumerate(headers_of_each):
            message = SimpleNamespace(
                value=b"spans", headers=headers, generation_id=1, topic="t", partition=0, offset=offset, tp=TP("t", 0)
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


def test_nothing_to_write():
    """A batch of such messages alone is passed over."""
    assert written([[(HEADER, b"a,b")]]) == ([], {TP("t", 0): 1})
