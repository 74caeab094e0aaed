"""The agent of the metrics generator: gives it each record of topic `spans`."""

from collections.abc import Iterable
from typing import Any

from faust.types import TP

from agents.generator.agent import MetricsGenerator
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events


def register(app: StreamApp, generator: MetricsGenerator) -> None:
    """Adds the agent. The caller must call restore, collect and commit, and push and stop at the end."""
    topic = app.topic(generator.topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.owned_by(generator)

    @app.agent(topic, name="metrics_generator")
    async def metrics_generator(stream: Any) -> None:
        async for event in events(stream):
            generator.take(event.message)
            # Faust keeps the message until it is acknowledged, which here never happens.
            event.value = event.message.value = None

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(_: Any, partitions: Iterable[TP], **__: Any) -> None:
        await generator.revoked(partitions)
