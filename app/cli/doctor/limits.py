"""The check `limits`: file descriptors, memory, CPUs, and the system's buffer for datagrams."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.settings import Settings
from app.standalone.worker_count import cpus, memory_bytes, worker_count

_FILES_MIN: Final = 1024
_OWN_FILES: Final = 512  # RocksDB, blocks on local disk, Kafka, pipes
_MEMORY_MIN_BYTES: Final = 512 << 20
_BASE_BYTES: Final = 300 << 20  # the process with nothing in its caches
_RMEM: Final = Path("/proc/sys/net/core/rmem_max")
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class SystemLimits:
    """files: soft limit of open files; memory_bytes: of the machine or the cgroup; udp_buffer_bytes: None: unknown"""

    files: int
    memory_bytes: int
    cpus: float
    udp_buffer_bytes: int | None


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """What the system allows, against what the settings need."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judged(here.settings, SystemLimits(files, memory_bytes(), cpus(), _udp_buffer()))


def judged(settings: Settings, limits: SystemLimits) -> list[Diagnosis]:
    """The verdicts on these limits."""
    return [_files(settings, limits), _memory(settings, limits), _cpus(limits), *_udp(settings, limits)]


def files_needed(settings: Settings) -> int:
    """Descriptors of a process whose listeners have all connections that they take."""
    server, receivers = settings.server, settings.distributor.receivers
    needed = _OWN_FILES + server.http_listen_conn_limit + 3 * server.grpc_listen_conn_limit
    if "distributor" in settings.targets:
        otlp, jaeger = receivers.otlp.protocols, receivers.jaeger.protocols
        for one in (otlp.grpc, otlp.http, jaeger.grpc, jaeger.thrift_http, receivers.zipkin):
            needed += one.connections_max if one.endpoint else 0
    return needed


def memory_needed(settings: Settings) -> int:
    """Bytes of a process whose caches and buffers are full."""
    live, query, frontend = settings.live_store, settings.query, settings.query_frontend
    parts = {
        "distributor": [settings.distributor.input.bytes_max],
        "live-store": [live.head_bytes_max, live.segment_cache_bytes_max],
        "query-frontend": [frontend.result_cache_bytes_max, frontend.trace_key_cache_bytes_max],
        "querier": [
            query.small_file_cache_bytes_max,
            query.range_cache_bytes_max,
            query.read_ahead_bytes_max,
            query.bloom_cache_bytes_max,
        ],
        "metrics-generator": [settings.metrics_generator.storage.queue_bytes_max],
    }
    needed = _BASE_BYTES + sum(sum(sizes) for target, sizes in parts.items() if target in settings.targets)
    if settings.targets & {"live-store", "query-frontend", "querier"}:
        needed += query.memory_total_bytes_max + query.column_cache_bytes_max
    return needed


def _files(settings: Settings, limits: SystemLimits) -> Diagnosis:
    needed, text = files_needed(settings), f"{limits.files} open files are allowed"
    advice = f"ulimit -n {needed}, or LimitNOFILE={needed} in the unit of systemd"
    if limits.files != resource.RLIM_INFINITY and limits.files < _FILES_MIN:
        return wrong("open files", f"{text}: too few for RocksDB and connections", advice)
    if limits.files != resource.RLIM_INFINITY and limits.files < needed:
        return warning(
            "open files", f"{text}, {needed} are needed with all connections that the settings allow", advice
        )
    return ok("open files", text if limits.files != resource.RLIM_INFINITY else "as many as are needed")


def _memory(settings: Settings, limits: SystemLimits) -> Diagnosis:
    workers, needed = worker_count(settings), memory_needed(settings)
    text = f"{limits.memory_bytes / _GIB:.1f} GiB for {workers} {'worker' if workers == 1 else 'workers'}"
    if limits.memory_bytes < _MEMORY_MIN_BYTES:
        return wrong("memory", f"{text}: too little for one process", "give the machine or the container 2 GiB")
    if limits.memory_bytes < needed * workers:
        return warning(
            "memory",
            f"{text}; with full caches and buffers each may take {needed / _GIB:.1f} GiB",
            "give it more, set STRETTO_WORKERS lower, or lower the sizes in query.*, live_store.* and "
            "distributor.input.bytes_max",
        )
    return ok("memory", text)


def _cpus(limits: SystemLimits) -> Diagnosis:
    text = f"{limits.cpus:g} may be used"
    if limits.cpus < 1:
        return warning("CPUs", f"{text}: heartbeats may come too late", "allow at least one CPU")
    return ok("CPUs", text)


def _udp(settings: Settings, limits: SystemLimits) -> list[Diagnosis]:
    protocols = settings.distributor.receivers.jaeger.protocols
    on = [one for one in (protocols.thrift_compact, protocols.thrift_binary) if one.endpoint]
    if "distributor" not in settings.targets or not on or limits.udp_buffer_bytes is None:
        return []
    wanted = max(one.socket_buffer_size for one in on)
    if limits.udp_buffer_bytes < wanted and any("endpoint" in one.model_fields_set for one in on):
        text = f"the system grants {limits.udp_buffer_bytes} bytes of {wanted}: datagrams may be lost in bursts"
        return [warning("UDP buffers", text, f"sysctl -w net.core.rmem_max={wanted}")]
    return [ok("UDP buffers", f"{min(wanted, limits.udp_buffer_bytes)} bytes")]


def _udp_buffer() -> int | None:
    try:
        return int(_RMEM.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
