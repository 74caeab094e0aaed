"""What else the distributor does with spans: counts, logs and copies of them. Names are Tempo's."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agents.distributor.forwarders.conditions import ConditionError, parse_condition
from app.settings.base import Section, conflict
from app.settings.values import MIB, Bytes, Count, Duration, HostPort, Name


class LogSpans(Section):
    enabled: bool = Field(
        default=False, description="Write a line of the log for each span. For debugging: it costs more than storing."
    )
    include_all_attributes: bool = Field(
        default=False, description="Also write name, kind, status, duration and all attributes."
    )
    filter_by_status_error: bool = Field(default=False, description="Only spans with status error.")


class CostAttribution(Section):
    enabled: bool = Field(
        default=False,
        description="Count bytes by the attributes that `cost_attribution.dimensions` of a tenant's overrides names, "
        "for /usage_metrics.",
    )
    max_cardinality: Count = Field(
        default=10_000, description="Most series of a tenant. Further ones count as `__overflow__`."
    )
    stale_duration: Duration = Field(default=900, description="Time without spans after which a series is dropped.")


class Usage(Section):
    cost_attribution: CostAttribution = CostAttribution()


class TraceSizes(Section):
    """How large traces are, for the limit of their size."""

    traces_max: Annotated[int, Field(ge=1024, le=2**28)] = Field(
        default=2**20,
        description="Most traces whose sizes are known, at 24 bytes each. Beyond it the ones without new spans are "
        "forgotten first, and may then grow beyond the limit.",
    )
    idle: Duration = Field(default=900, description="Time without spans after which the size of a trace is forgotten.")


class ForwarderTls(Section):
    insecure: bool = Field(default=False, description="Send without TLS.")
    cert_file: str = Field(
        default="", description="File with the certificates that the receiver's one must come from. Needed with TLS."
    )


class OtlpGrpc(Section):
    endpoints: Annotated[tuple[HostPort, ...], Field(strict=False, min_length=1)] = Field(
        description="Addresses of receivers of OTLP over gRPC, host:port. They take turns."
    )
    tls: ForwarderTls = ForwarderTls()

    @model_validator(mode="after")
    def _has_certificates(self) -> Self:
        if not self.tls.insecure and not self.tls.cert_file:
            raise conflict("tls.cert_file", "is needed, or set tls.insecure to true", "tls.insecure")
        return self


def _condition(text: str) -> str:
    try:
        parse_condition(text)
    except ConditionError as err:
        raise ValueError(str(err)) from None
    return text


class TraceFilters(Section):
    not_supported: ClassVar = {"spanevent": "is not supported: events go with their span; filter spans with `span`"}

    span: Annotated[tuple[Annotated[str, AfterValidator(_condition)], ...], Field(strict=False)] = Field(
        default=(),
        description="Conditions in OTTL. A span that any of them holds for is not forwarded. See "
        "[multitenancy.md](multitenancy.md#forwarders) for what a condition may say.",
    )


class Filter(Section):
    traces: TraceFilters = TraceFilters()


class Forwarder(Section):
    name: Name = Field(description="Name, by which overrides of tenants choose the forwarder.")
    backend: Literal["otlpgrpc"] = Field(default="otlpgrpc", description="How copies are sent.")
    otlpgrpc: OtlpGrpc = Field(description="Where copies are sent.")
    filter: Filter = Filter()
    queue_bytes_max: Bytes = Field(
        default=32 * MIB,
        description="Most bytes of requests that wait to be sent. Further copies are dropped and counted.",
    )
    timeout: Duration = Field(default=10, description="Time after which a request that is not answered is sent again.")
    retry_for: Duration = Field(
        default=60, description="Time after which a request that the receiver does not take is dropped and counted."
    )
