"""Limits of single tenants: what they may send, ask and store. Names are Tempo's; our own limits say so."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from app.settings.base import Section
from app.settings.values import MIB, BytesOrZero, CountOrZero, DurationOrZero, Words

_ATTRIBUTE_BYTES_MIN: Final = 256  # as distributor.max_attribute_bytes


def _zero_or_enough(size_bytes: int) -> int:
    if 0 < size_bytes < _ATTRIBUTE_BYTES_MIN:
        raise ValueError(f"expected 0, or at least {_ATTRIBUTE_BYTES_MIN}")
    return size_bytes


AttributeBytes = Annotated[
    int,
    Words(f"0, or an integer from {_ATTRIBUTE_BYTES_MIN} to {16 * MIB}"),
    Field(ge=0, le=16 * MIB),
    AfterValidator(_zero_or_enough),
]


class IngestionOverrides(Section):
    """What a tenant may send. Requests beyond a limit are refused with an error that names it."""

    rate_strategy: Literal["local", "global"] = Field(
        default="local",
        description="What `rate_limit_bytes` limits: each process that receives spans by itself (local), or all of "
        "them together, an equal share each (global).",
    )
    rate_limit_bytes: BytesOrZero = Field(
        default=0,
        description="Most bytes a second that the tenant may send, as OTLP after decompression. Requests beyond it are "
        "refused with 429 or RESOURCE_EXHAUSTED, and the time after which to send again. Messages from Kafka are not "
        "limited. 0: no limit.",
    )
    burst_size_bytes: BytesOrZero = Field(
        default=0,
        description="Most bytes that may come at once, after a pause. A larger request is never taken. 0: as many as "
        "`rate_limit_bytes`.",
    )
    max_attribute_bytes: AttributeBytes = Field(
        default=0,
        description="Longest key or value of an attribute, in bytes. Longer ones are cut. 0: as "
        "`distributor.max_attribute_bytes`.",
    )
    max_spans_per_request: CountOrZero = Field(
        default=0,
        description="Most spans in a request. A request with more is refused whole, since a retry would not help. "
        "Messages from Kafka are not limited. 0: no limit.",
    )
    max_bytes_per_trace: BytesOrZero = Field(
        default=0,
        description="Largest trace that the tenant may send, in bytes of its spans as OTLP; also under Tempo's name "
        "`global.max_bytes_per_trace`. Spans beyond it are discarded. Each process that receives spans counts what it "
        "has received itself. 0: no limit.",
    )
    past_slack: DurationOrZero = Field(
        default=0,
        description="Spans that ended longer ago than this when they are received are discarded. For messages from "
        "Kafka the time is that of the message. 0: no limit.",
    )
    future_slack: DurationOrZero = Field(
        default=0,
        description="Spans that start later than this after they are received are discarded. 0: no limit.",
    )
    retry_info_enabled: bool = Field(
        default=True,
        description="Tell clients that are refused because of `rate_limit_bytes` when to send again. Most clients of "
        "OTLP over gRPC do not retry otherwise.",
    )


class ReadOverrides(Section):
    """What a tenant's queries may do."""

    max_bytes_per_tag_values_query: BytesOrZero = Field(
        default=0,
        description="Most bytes of the values that a query of tag values returns. Further values are left out. 0: no "
        "limit.",
    )
    max_search_duration: DurationOrZero = Field(
        default=0,
        description="Longest time range of a search. 0: as `query_frontend.search.max_duration_s`.",
    )
    max_metrics_duration: DurationOrZero = Field(
        default=0,
        description="Longest time range of a metrics query. 0: as `query_frontend.metrics.max_duration_s`.",
    )
    max_bytes_read_per_query: BytesOrZero = Field(
        default=0,
        description="Most bytes of columns that a query of the tenant may read. 0: as "
        "`query_frontend.max_bytes_read_per_query`.",
    )
    max_query_memory_bytes: Annotated[int, Field(ge=0, le=1024**4)] = Field(
        default=0,
        description="Memory that one query of the tenant may use, in bytes by estimate. 0, or more than "
        "`query.memory_bytes_max`: as that setting.",
    )


def _dimensions(value: Any) -> Any:
    """Tempo's mapping may leave the name of the label out: `resource.service.name:`."""
    if isinstance(value, dict):
        return {str(key): "" if label is None else label for key, label in value.items()}
    return value


class CostAttributionOverrides(Section):
    """How the tenant's bytes are divided on /usage_metrics."""

    max_cardinality: CountOrZero = Field(
        default=0,
        description="Most series of the tenant. Further ones count as `__overflow__`. 0: as "
        "`distributor.usage.cost_attribution.max_cardinality`.",
    )
    dimensions: Annotated[
        dict[str, str], Words("a mapping from attributes to labels"), BeforeValidator(_dimensions)
    ] = Field(
        default={},
        description="Attributes by which bytes are counted, with the label of each: `resource.service.name: service`. "
        "Without a scope the resource's counts, or else the span's. An empty label: the attribute's name.",
    )
