"""Computes docs/scaling.md's tables: how many of each target a load needs, and what it costs. Nothing is started.

python -m benchmarks.scaling [--set NAME=VALUE …]

Every figure is a parameter, with its source beside it. Prices are list prices of a large cloud, rounded; put in yours.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

RATES: Final = (100_000, 1_000_000, 10_000_000)  # spans a second
MONTH_S: Final = 30 * 86_400
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Parameters:
    """CPU in seconds per million spans, at 512 spans a request. Of Stretto: 11.0 in all with the metrics generator, 1.5
    of it Kafka's (benchmarks/README.md, results of 7b8151a), divided among the targets in the proportions that
    `python -m benchmarks.by_target` measured: 23, 45 and 15 to Kafka's 17 (150,000 spans, on a busy machine).
    """

    # Stretto
    distributor_cpu: float = 2.6
    live_store_cpu: float = 5.1
    generator_cpu: float = 1.7
    compactor_cpu: float = 3.0  # each span is merged two to three times in its life
    kafka_cpu: float = 1.5
    cores_of_a_process: float = 1.3  # a Python process saturates there
    target_share: float = 0.6  # of what a process can do, so that a lost one can be borne
    kafka_bytes: float = 70.0  # a span in the topic
    merged_bytes: float = 30.0  # a span in merged blocks
    wire_bytes: float = 56.0  # a span on its way to the distributor, with gzip, at 512 spans a request
    process_gib: float = 1.0
    partition_spans_s: float = 60_000.0  # what one live store takes of one partition, at its target share
    flush_s: float = 300.0  # live_store.block_age_s
    requests_per_block: float = 4.0  # data file, meta, and a share of the cut and of bloom filters
    merge_requests_per_block: float = 6.0  # results of months: 4 GET, 0.8 PUT, 0.8 CREATE per flush
    tenants: float = 1.0
    # Tempo 3.1, microservices with Kafka, measured on the same kind of machine with the same spans
    tempo_distributor_cpu: float = 9.5
    tempo_live_store_cpu: float = 31.4
    tempo_block_builder_cpu: float = 12.5
    tempo_generator_cpu: float = 8.8
    tempo_kafka_cpu: float = 4.8
    tempo_block_bytes: float = 105.0
    tempo_kafka_bytes: float = 78.0  # the same requests with snappy
    tempo_cores_of_a_process: float = 8.0  # Go uses all cores of a container
    tempo_process_gib: float = 5.7
    # Both
    replication: float = 3.0  # of topics
    kafka_hours: float = 4.0  # kept on the brokers' disks
    retention_days: float = 14.0
    zones: float = 2.0  # live stores
    query_share: float = 0.25  # of the CPU time of ingestion: what queries take. It depends on who asks
    broker_mib_s: float = 60.0  # a broker writes, replication included
    broker_cores: float = 4.0
    # Prices in USD a month
    core: float = 25.0
    gib_memory: float = 3.3
    gib_disk: float = 0.08
    gib_object: float = 0.023
    million_writes: float = 5.0
    gib_between_zones: float = 0.02  # both directions


@dataclass(frozen=True, slots=True)
class Need:
    """What a rate needs. usd: a month"""

    processes: dict[str, int]
    cores: float
    partitions: int
    brokers: int
    ingest_mib_s: float
    between_zones_mib_s: float
    bucket_gib: float
    writes_s: float
    usd: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.usd.values())


def stretto(p: Parameters, rate: float) -> Need:
    """The targets of Stretto for so many spans a second."""
    million = rate / 1e6
    per_process = p.cores_of_a_process * p.target_share
    cpu = {
        "distributor": p.distributor_cpu * million,
        "live-store": p.live_store_cpu * million * p.zones,
        "metrics-generator": p.generator_cpu * million,
        "compactor": p.compactor_cpu * million,
    }
    processes = _processes(p, cpu, per_process)
    partitions = max(4, math.ceil(rate / p.partition_spans_s))
    blocks_s = partitions * p.tenants / p.flush_s
    writes_s = blocks_s * (p.requests_per_block + p.merge_requests_per_block / 3)
    cores = sum(cpu.values()) * (1 + p.query_share) / p.target_share
    return _need(p, rate, processes, cores, partitions, writes_s, (p.kafka_bytes, p.merged_bytes), p.kafka_cpu)


def tempo(p: Parameters, rate: float) -> Need:
    """The same for Tempo's microservices. Compactors are taken to cost what Stretto's do: they were not measured."""
    million = rate / 1e6
    per_process = p.tempo_cores_of_a_process * p.target_share
    cpu = {
        "distributor": p.tempo_distributor_cpu * million,
        "live-store": p.tempo_live_store_cpu * million * p.zones,
        "block-builder": p.tempo_block_builder_cpu * million,
        "metrics-generator": p.tempo_generator_cpu * million,
        "compactor": p.compactor_cpu * million,
    }
    processes = _processes(p, cpu, per_process)
    partitions = max(4, math.ceil(rate / p.partition_spans_s))
    writes_s = partitions * p.tenants / p.flush_s * p.requests_per_block
    cores = sum(cpu.values()) * (1 + p.query_share) / p.target_share
    sizes = (p.tempo_kafka_bytes, p.tempo_block_bytes)
    return _need(p, rate, processes, cores, partitions, writes_s, sizes, p.tempo_kafka_cpu, p.tempo_process_gib)


def _processes(p: Parameters, cpu: dict[str, float], per_process: float) -> dict[str, int]:
    """Two of what must not be away, one of what may; a live store for each zone at least."""
    found = {"distributor": max(2, math.ceil(cpu["distributor"] / per_process))}
    for name, cores in cpu.items():
        if name != "distributor":
            of_each = p.zones if name == "live-store" else 1
            found[name] = math.ceil(max(1, math.ceil(cores / of_each / per_process)) * of_each)
    queries = math.ceil(sum(cpu.values()) * p.query_share / per_process)
    return found | {"query-frontend": 2, "querier": max(2, queries)}


def _need(  # noqa: PLR0913 (what the two differ in)
    p: Parameters,
    rate: float,
    processes: dict[str, int],
    cores: float,
    partitions: int,
    writes_s: float,
    sizes: tuple[float, float],
    kafka_cpu: float,
    process_gib: float | None = None,
) -> Need:
    kafka_bytes, stored_bytes = sizes
    produced = rate * kafka_bytes
    by_disk = produced * p.replication / (p.broker_mib_s * 2**20)
    by_cpu = kafka_cpu * rate / 1e6 * p.replication / (p.broker_cores * p.target_share)
    brokers = max(3, math.ceil(max(by_disk, by_cpu)))
    # Producers and consumers are in any zone: two thirds of all connections, and the replication, cross one.
    consumers = p.zones + 1
    between = (rate * p.wire_bytes + produced * (1 + consumers)) * 2 / 3 + produced * (p.replication - 1)
    bucket = rate * stored_bytes * p.retention_days * 86_400
    disk = produced * p.replication * p.kafka_hours * 3600
    count = sum(processes.values())
    memory = count * (process_gib or p.process_gib) + brokers * 8
    usd = {
        "cores": (cores + brokers * p.broker_cores) * p.core,
        "memory": memory * p.gib_memory,
        "brokers' disks": disk / GIB * p.gib_disk,
        "bucket": bucket / GIB * p.gib_object,
        "requests": writes_s * MONTH_S / 1e6 * p.million_writes,
        "between zones": between * MONTH_S / GIB * p.gib_between_zones,
    }
    return Need(
        processes,
        cores + brokers * p.broker_cores,
        partitions,
        brokers,
        rate * p.wire_bytes / 2**20,
        between / 2**20,
        bucket / GIB,
        writes_s,
        usd,
    )


def text(p: Parameters) -> str:
    """The generated part of docs/scaling.md."""
    parts = []
    for name, of in (("Stretto", stretto), ("Tempo 3.1, microservices", tempo)):
        needs = [of(p, rate) for rate in RATES]
        rows = [[f"{name}", *(f"{rate:,} spans/s" for rate in RATES)]]
        rows += [[target, *(f"{one.processes[target]:,}" for one in needs)] for target in needs[0].processes]
        rows += [
            ["cores, Kafka's included", *(f"{one.cores:,.0f}" for one in needs)],
            ["partitions", *(f"{one.partitions:,}" for one in needs)],
            ["brokers", *(f"{one.brokers:,}" for one in needs)],
            ["spans in, MiB/s", *(f"{one.ingest_mib_s:,.0f}" for one in needs)],
            ["between zones, MiB/s", *(f"{one.between_zones_mib_s:,.0f}" for one in needs)],
            ["in the bucket, GiB", *(f"{one.bucket_gib:,.0f}" for one in needs)],
            ["writes to the bucket, 1/s", *(f"{one.writes_s:,.2f}" for one in needs)],
        ]
        for item in needs[0].usd:
            rows.append([f"USD a month: {item}", *(f"{one.usd[item]:,.0f}" for one in needs)])
        rows.append(["**USD a month, in all**", *(f"**{one.total:,.0f}**" for one in needs)])
        parts.append(_table(rows))
    ratios = ", ".join(f"{tempo(p, rate).total / stretto(p, rate).total:.1f} at {rate:,}" for rate in RATES)
    return "\n".join(parts) + f"\nTempo's costs as a multiple of Stretto's: {ratios} spans/s.\n"


def parameters_table(p: Parameters) -> str:
    """All parameters with their values."""
    return _table([["parameter", "value"], *([f"`{one.name}`", f"{getattr(p, one.name):g}"] for one in fields(p))])


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.partition("\n")[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of a parameter")
    given = parser.parse_args(argv)
    p = Parameters()
    for pair in given.set:
        name, _, value = pair.partition("=")
        if name not in {one.name for one in fields(p)}:
            parser.error(f"{name} is no parameter; they are {', '.join(one.name for one in fields(p))}")
        try:
            p = replace(p, **{name: float(value)})
        except ValueError:
            parser.error(f"{name}: expected a number, got {value!r}")
    sys.stdout.write(f"{text(p)}\n{parameters_table(p)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
