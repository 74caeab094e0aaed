"""The check `storage`: whether blocks can be written, replaced, read, listed and deleted."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.process.storage import storage_config
from app.settings import Settings
from tables.errors import StorageError, UnusableStorage
from tables.storage.object_store import ObjectStore
from tables.storage.probe import probe
from tables.wall import walled

_SLOW_S: Final = 2.0


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """Writes an object below `probe/`, replaces, reads, lists and deletes it."""
    config = storage_config(here.settings.storage.trace)
    # As at the start of a process: nobody waits a minute to learn that the storage is away.
    config = replace(config, write_timeout_s=min(config.write_timeout_s, config.read_timeout_s))
    subject = config.where
    started_s = time.monotonic()
    try:
        walled(lambda: probe(ObjectStore(config)))
    except UnusableStorage as err:
        return [wrong(subject, str(err), "docs/storage.md says what Stretto needs")]
    except StorageError as err:
        return [wrong(subject, f"does not answer: {err}", f"check storage.trace.{config.backend} and the network")]
    return judged(subject, here.settings, time.monotonic() - started_s)


def judged(subject: str, settings: Settings, took_s: float) -> list[Diagnosis]:
    """The verdict on a storage that works."""
    text = f"can be written, replaced, read, listed and deleted; all of it took {took_s:.2f} s"
    found = [ok(subject, text)]
    if took_s > _SLOW_S:
        found = [warning(subject, f"{text}: queries over blocks will be slow", "is the bucket in the same region?")]
    if settings.storage.trace.backend == "local" and len(settings.targets) == 1:
        advice = "use a bucket, or one volume that all processes mount"
        found.append(warning(subject, "is a folder: other processes see its blocks only if it is shared", advice))
    return found
