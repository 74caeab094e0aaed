"""The section distributor: what is received, how it is gathered, and what else is done with it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.sections.receivers import Receivers
from app.settings.sections.span_copies import Forwarder, LogSpans, TraceSizes, Usage
from app.settings.values import KIB, MIB, Bytes, Count, Seconds


class Batch(Section):
    """How requests are batched into a few large Kafka records."""

    window_ms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=60,
        description="Longest time, in milliseconds, that a request waits for other requests to share a Kafka "
        "record; while an earlier batch is still being written, up to twice as long. A higher value saves CPU and adds "
        "latency for clients.",
    )
    bytes_max: Bytes = Field(
        default=1_500_000,
        description="Size of a batch, in bytes of requests, at which it is sent without further waiting.",
    )


class Input(Section):
    """Limits of all requests together, in memory and CPU time."""

    bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Memory for requests, in bytes, over all receivers and connections: requests that are being "
        "read, decompressed or decoded from JSON, or wait for Kafka's acknowledgement. Above it "
        "clients get an error that they may retry.",
    )
    tenant_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5,
        description="Largest share of `distributor.input.bytes_max` for the requests of one tenant, from 0 to 1. "
        "Without `multitenancy_enabled` the single tenant may use all of it.",
    )
    body_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2,
        description="Threads that decompress request bodies. Large bodies take turns; small ones do not wait.",
    )
    body_cpu_s_max: Seconds = Field(
        default=5,
        description="CPU seconds that a request may take for decompression, and again for parsing its JSON. 100 MB "
        "of gzip with ordinary spans takes about one second. A request that takes longer is refused.",
    )
    members_max: Count = Field(
        default=4096,
        description="Most members (concatenated gzip streams) in one gzip body. A body with more is refused.",
    )
    ratio_max: Count = Field(
        default=2000,
        description="Largest compression ratio of a body that exceeds 1 MiB when decompressed. A body with a "
        "higher ratio is refused.",
    )


class Distributor(Section):
    not_supported: ClassVar[Mapping[str, str]] = {
        "ring": "is not needed: Kafka divides the partitions; remove it",
        "override_ring_key": "is not needed: Kafka divides the partitions; remove it",
        "artificial_delay": "has no counterpart: an answer is sent when Kafka has the spans; remove it",
        "retry_after_on_resource_exhausted": "has no counterpart: clients hear when their rate allows the request; see "
        "`overrides.defaults.ingestion.retry_info_enabled`",
        "metric_received_spans": "has no counterpart: ask for {} | count_over_time() by (name)",
    }

    receivers: Receivers = Receivers()
    batch: Batch = Batch()
    input: Input = Input()
    decode_s_max: Seconds = Field(
        default=10,
        description="CPU seconds that decoding a request may take. 100 MB of ordinary spans takes about one "
        "second. A request that takes longer is refused.",
    )
    max_attribute_bytes: Annotated[int, Field(ge=256, le=16 * MIB)] = Field(
        default=64 * KIB,
        description="Longest key or value of an attribute, in bytes. Longer ones are truncated, and counted in "
        "stretto_attribute_values_cut_total.",
    )
    tenant_metrics_max: Count = Field(
        default=1000,
        description="Most tenants that have series of their own in the metrics of what is received. All others count "
        "under tenant `__other__`.",
    )
    trace_sizes: TraceSizes = TraceSizes()
    usage: Usage = Usage()
    log_received_spans: LogSpans = LogSpans()
    log_discarded_spans: LogSpans = LogSpans()
    forwarders: Annotated[tuple[Forwarder, ...], Field(strict=False)] = Field(
        default=(),
        description="Receivers of OTLP that may get a copy of what comes in: of those tenants whose overrides name "
        "them. A copy never holds up the original.",
    )

    @model_validator(mode="after")
    def _largest_request_fits(self) -> Self:
        protocols = self.receivers.otlp.protocols
        sizes = {
            "receivers.otlp.protocols.grpc.max_recv_msg_size_mib": protocols.grpc.max_recv_msg_size_mib * MIB,
            "receivers.otlp.protocols.http.max_request_body_size": protocols.http.max_request_body_size,
            "batch.bytes_max": self.batch.bytes_max,
        }
        most = int(self.input.bytes_max * self.input.tenant_share)
        for key, size_bytes in sizes.items():
            # Compressed and decompressed together.
            if 2 * size_bytes > most:
                raise conflict(
                    key,
                    f"twice {size_bytes} bytes are more than a tenant's share of distributor.input.bytes_max ({most}); "
                    "make this one smaller or that one larger",
                    "input.bytes_max",
                )
        return self
