"""Old snapshots of Iceberg tables: they name files of replaced blocks, which are deleted after the same time."""

import logging
import time
from typing import Any, Final

log = logging.getLogger(__name__)

_AT_ONCE: Final = 100  # snapshots; more wait for the next time


def expire(table: Any, kept_s: float) -> int:
    """Forgets snapshots that are older than `kept_s` seconds, and deletes the manifests that only they name.

    Returns the number of forgotten snapshots. The newest one stays, whatever its age, and those
    that somebody has tagged.
    """
    metadata = table.metadata
    before_ms = (time.time() - kept_s) * 1000
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    old = [
        snapshot
        for snapshot in metadata.snapshots
        if snapshot.timestamp_ms < before_ms and snapshot.snapshot_id not in named
    ][:_AT_ONCE]
    if not old:
        return 0
    of_old = {path for snapshot in old for path in _objects(table, snapshot)}
    table.maintenance.expire_snapshots().by_ids([snapshot.snapshot_id for snapshot in old]).commit()
    # Only after the commit: until then they are needed.
    for path in of_old - _needed(table):
        try:
            table.io.delete(path)
        except OSError as err:
            log.warning("cannot delete %s, which no snapshot of an Iceberg table needs: %s", path, err)
    return len(old)


def _needed(table: Any) -> set[str]:
    """The objects of those snapshots that may share some with older ones.

    A manifest that left the table never comes back: what a later snapshot has of an old one, the oldest that is kept
    has, too. Snapshots with a name of their own (a tag, a branch) may lie anywhere.
    """
    metadata = table.metadata
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    oldest = min(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number)
    kept = [snapshot for snapshot in metadata.snapshots if snapshot is oldest or snapshot.snapshot_id in named]
    return {path for snapshot in kept for path in _objects(table, snapshot)}


def _objects(table: Any, snapshot: Any) -> set[str]:
    """The objects that describe a snapshot: its manifest list and the manifests in it."""
    try:
        manifests = {manifest.manifest_path for manifest in snapshot.manifests(table.io)}
    except FileNotFoundError:  # somebody was faster
        return set()
    return {snapshot.manifest_list, *manifests}
