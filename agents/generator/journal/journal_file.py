"""The journal file: written before a push is sent, read at the start. One file, replaced as a whole."""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from agents.generator.journal.journal_format import Saved, decode, encode
from tables.errors import WireError

log = logging.getLogger(__name__)

FAILED = Counter(
    "tempo_metrics_generator_journal_failures_total",
    "Journals that could not be written, or not be used: counters begin anew after a crash.",
    ["reason"],
)
SECONDS = Gauge("tempo_metrics_generator_journal_seconds", "How long the last journal took to be written.")
SIZE = Gauge("tempo_metrics_generator_journal_bytes", "Bytes of the last journal.")

_NAME: Final = "journal"


class JournalFile:
    """The journal in a folder that is this worker's own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / _NAME

    async def load(self, cluster_id: str, topic: str, instance: str) -> Saved | None:
        """What was saved; None if there is nothing, or nothing that can be used here."""
        try:
            saved = decode(await asyncio.to_thread(self._path.read_bytes))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as err:
            FAILED.labels("unreadable").inc()
            log.warning("the journal %s cannot be used, counters begin anew: %s", self._path, err)
            return None
        if (saved.cluster_id, saved.topic, saved.instance) != (cluster_id, topic, instance):
            FAILED.labels("foreign").inc()
            log.warning("the journal %s is of another Kafka, topic or worker; counters begin anew", self._path)
            return None
        return saved

    async def save(self, saved: Saved) -> None:
        """Returns when it is on disk. Where that does not work there is none: an older one must not be taken for it."""
        try:
            await asyncio.to_thread(self._write, saved)
        except OSError as err:
            FAILED.labels("unwritable").inc()
            log.warning("the journal %s cannot be written; after a crash counters begin anew: %s", self._path, err)
            await asyncio.to_thread(self._remove)

    def _write(self, saved: Saved) -> None:
        started_s = time.perf_counter()
        data = encode(saved)
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f"{_NAME}.new"
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the new name holds, too
        finally:
            os.close(folder)
        SECONDS.set(time.perf_counter() - started_s)
        SIZE.set(len(data))

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as err:
            log.warning("the journal %s cannot be removed: %s", self._path, err)
