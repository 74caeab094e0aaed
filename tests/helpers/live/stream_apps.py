"""Apps of Faust and their consumers, without Kafka."""

import asyncio
from pathlib import Path
from typing import Any, Final

from agents.stream.consumer_thread import ConsumerThread
from agents.stream.kafka_client import KafkaClient
from agents.stream.stream_app import StreamApp, new_app


def stream_app(folder: Path, **changed: Any) -> StreamApp:
    """One that has no Kafka. changed: arguments of `new_app`"""
    made: dict[str, Any] = {
        "kafka": KafkaClient.plain("127.0.0.1:1"),
        "datadir": folder,
        "session_timeout_s": 6.0,
        "message_bytes_max": 1 << 20,
        "keeps_partitions": False,
        **changed,
    }
    found = new_app("app", **made)
    CLOSE.append(found)
    return found


CLOSE: Final[list[StreamApp]] = []


def close_loops() -> None:
    """Each thread has one, whether it runs or not. A fixture calls this after each test."""
    while CLOSE:
        if (consumer := CLOSE.pop()._consumer) is not None and not consumer._thread.thread_loop.is_closed():
            consumer._thread.thread_loop.close()


def in_this_loop(thread: ConsumerThread) -> None:
    """The thread's calls run in the test's loop."""
    thread.thread_loop.close()
    thread.thread_loop = asyncio.get_running_loop()
