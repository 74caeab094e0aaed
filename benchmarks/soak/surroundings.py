"""What a soak is made in: Stretto with the settings of the run, and what stands in for its surroundings."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import revisions
from benchmarks.hostile.behind_proxy import behind_proxy
from benchmarks.hostile.kafka_proxy import KafkaProxy
from benchmarks.soak.bucket import SoakBucket, bucket
from tables.storage.config import StorageConfig
from tests.harness.brokers import Brokers
from tests.harness.cluster import Cluster

REPLACED_STAY_S: Final = 150  # longer than two polls and a query
LOCAL_COPY_BYTES: Final = 1 << 30  # as with a storage that is not on this disk: until a restart, blocks are read here
# Where Kafka is behind a proxy, the times of the default settings all the same.
PATIENT: Final = {"STRETTO_KAFKA__SESSION_TIMEOUT_S": "6", "STRETTO_KAFKA__CONSUME_STALL_S": "12"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """proxy: before Kafka; brokers: where there are several; bucket: where blocks are not on this disk; or None

    storage: where the blocks are, for whoever counts them
    """

    cluster: Cluster
    storage: StorageConfig
    proxy: KafkaProxy | None = None
    brokers: Brokers | None = None
    bucket: SoakBucket | None = None


@contextmanager
def started(given: argparse.Namespace, folder: Path) -> Iterator[Surroundings]:
    """All of it, running inside. Raises: BenchError"""
    variables = {**settings(given), **code_of_now(folder / "code", given.clocks)}
    with ExitStack() as stack:
        held = stack.enter_context(bucket(folder)) if given.bucket else None
        if held is not None:
            variables |= held.variables
        proxy, brokers = None, None
        if given.network:
            running = stack.enter_context(behind_proxy(folder, {**PATIENT, **variables}))
            cluster, proxy = running.cluster, running.proxy
        else:
            if given.brokers > 1:
                brokers = stack.enter_context(Brokers(folder, given.brokers))
                variables |= {
                    "KAFKA_URL": brokers.url,
                    "STRETTO_KAFKA__REPLICATION_FACTOR": str(min(3, given.brokers)),
                }
            cluster = stack.enter_context(Cluster(folder, variables))
        storage = StorageConfig("local", str(cluster.data_dir / "blocks")) if held is None else held.config
        yield Surroundings(cluster, storage, proxy, brokers, held)


def settings(given: argparse.Namespace) -> dict[str, str]:
    """Settings of the run as environment variables."""
    return {
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(given.block_age_s),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": str(min(10, given.block_age_s)),
        "STRETTO_KAFKA__PARTITIONS": str(given.partitions),
        "STRETTO_WORKERS": str(given.workers),
        "STRETTO_LIVE_STORE__LOCAL_COPY_BYTES_MAX": str(LOCAL_COPY_BYTES),
        **compaction_settings(given.compaction_window_s),
        **dict(given.setting),
    }


def compaction_settings(window_s: float) -> dict[str, str]:
    """Blocks are merged soon and often, and replaced ones are deleted while the soak goes on."""
    if not window_s:
        return {"STRETTO_COMPACTOR__DISABLED": "true"}
    return {
        "STRETTO_COMPACTOR__COMPACTION__COMPACTION_WINDOW": f"{window_s:g}s",
        "STRETTO_COMPACTOR__COMPACTION__COMPACTION_CYCLE": "5s",
        "STRETTO_COMPACTOR__COMPACTION__INPUT_BLOCKS_MIN": "4",
        "STRETTO_COMPACTOR__COMPACTION__COMPACTED_BLOCK_RETENTION": f"{REPLACED_STAY_S}s",
        "STRETTO_COMPACTOR__CHECKPOINT_INTERVAL": "30s",
        "STRETTO_COMPACTOR__AUDIT_INTERVAL": "60s",
    }


def code_of_now(folder: Path, clocks: str = "") -> dict[str, str]:
    """A copy of the program and the variable that makes Python run it: workers that are started in the middle of the
    soak must be what was started first, though somebody edits the files meanwhile.

    clocks: by how many seconds the workers' clocks are ahead (`shifted_clock`)
    """
    variables = revisions.of_now(folder).variables
    if clocks:
        shutil.copy(Path(__file__).with_name("shifted_clock.py"), folder / "sitecustomize.py")
        variables["CHAOS_CLOCKS_S"] = clocks
    return variables
