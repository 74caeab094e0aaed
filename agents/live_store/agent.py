"""The agent of the live store: gives each record of topic `spans` to the partition manager."""

from typing import Any

from agents.live_store.partition_manager import PartitionManager
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events


def register(app: StreamApp, manager: PartitionManager) -> None:
    """Adds the agent and its timer."""
    topic = app.topic(manager.topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.owned_by(manager)

    @app.agent(topic, name="live_store")
    async def live_store(stream: Any) -> None:
        async for event in events(stream):
            await manager.take(event.message)
            # Faust keeps the message until it is acknowledged, which here never happens.
            event.value = event.message.value = None

    @app.timer(1.0, name="live_store_tick")
    async def tick() -> None:
        manager.tick()
