"""The section metrics_generator. Names and defaults are Tempo's."""

import re
from itertools import pairwise
from math import inf
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agents.generator.config import (
    GRAPH_BUCKETS_S,
    LATENCY_BUCKETS_S,
    METRIC_LABELS,
    OVERFLOW_LABEL,
    SERVICE_GRAPHS,
    SPAN_METRICS,
    AttributeMatch,
    DimensionMapping,
    FilterPolicy,
    GeneratorConfig,
    PolicyMatch,
    ServiceGraphsConfig,
    SpanMetricsConfig,
)
from app.settings.base import Section, conflict
from app.settings.sections.remote_write import GeneratorStorage
from app.settings.values import Count, CountOrZero, Name, Seconds, SecondsOrZero, Words

_LABEL: Final = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_INSTANCE: Final = "__metrics_gen_instance"
_OWN_LABELS: Final = METRIC_LABELS | {OVERFLOW_LABEL, _INSTANCE}
# Receivers take 128 characters of labels with an exemplar; a trace id has 32.
_NAME_CHARS_MAX: Final = 96
_INTRINSICS = ("service", "span_name", "span_kind", "status_code", "status_message")


def _texts(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    try:
        return [float(part) for part in _texts(value)] if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected numbers with commas between them, as 0.1,1,10") from None


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if not bounds or not all(0 < bound < inf for bound in bounds) or any(a >= b for a, b in pairwise(bounds)):
        raise ValueError(
            "expected seconds above 0, each more than the one before, none infinite or NaN: "
            "the bucket up to infinity is always there"
        )
    return bounds


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; name an attribute, as http.method, or take it out")
    return text


def _some(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        raise ValueError("expected at least one attribute; a label made of none is no label")
    return texts


def _known_processors(names: tuple[str, ...]) -> tuple[str, ...]:
    return _among(names, (SERVICE_GRAPHS, SPAN_METRICS))


def _known_intrinsics(names: tuple[str, ...]) -> tuple[str, ...]:
    return _among(names, _INTRINSICS)


def _among(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [name for name in names if name not in known]:
        raise ValueError(f"{wrong[0]!r} is none of {', '.join(known)}")
    return names


def _matchable(key: str) -> str:
    scope, dot, rest = key.partition(".")
    if not (key in ("kind", "name", "status") or (dot and rest and scope in ("resource", "span"))):
        raise ValueError("expected kind, name, status, resource.<key> or span.<key>")
    return key


def _pairs(texts: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    for text in texts:
        name, _, value = text.partition("=")
        if not name:
            raise ValueError(f"expected name=value; got {text!r}")
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is no label's name: letters, digits and underscores, no digit in front")
        if name in _OWN_LABELS:
            raise ValueError(f"the label {name} has a meaning of its own; choose another name")
        if name in seen:
            raise ValueError(f"the label {name} is there twice; take one of them out")
        if value.encode(errors="replace").decode() != value:
            raise ValueError(f"the value of {name} is not UTF-8 text")
        seen.add(name)
    return texts


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), Field(strict=False)]
Attribute = Annotated[str, AfterValidator(_not_blank)]
Attributes = Annotated[tuple[Attribute, ...], BeforeValidator(_texts), Field(strict=False)]
Buckets = Annotated[tuple[float, ...], BeforeValidator(_numbers), AfterValidator(_ascending), Field(strict=False)]
Processors = Annotated[Texts, AfterValidator(_known_processors)]
Intrinsics = Annotated[Texts, AfterValidator(_known_intrinsics)]
NameValues = Annotated[Texts, AfterValidator(_pairs), Words("a list of name=value, or text with commas")]


LabelName = Annotated[
    str,
    Words(f"a name of letters, digits and underscores, not beginning with a digit, of at most {_NAME_CHARS_MAX}"),
    Field(pattern=rf"^{_LABEL.pattern}$", max_length=_NAME_CHARS_MAX),
]


class Registry(Section):
    collection_interval_s: Seconds = Field(default=15, description="Seconds between two pushes.")
    stale_duration_s: Seconds = Field(default=900, description="Seconds without new data after which a series ends.")
    external_labels: NameValues = Field(
        default=(),
        description="Labels that every series gets: a list of `name=value`, or one text separated by commas.",
    )
    limiter_type: Literal["series", "entity"] = Field(
        default="series", description="Which limit applies: `max_active_series` or `max_active_entities`."
    )
    max_active_series: CountOrZero = Field(
        default=0,
        description="Most active series of a tenant. Beyond it, new label sets are counted under the label "
        "`metric_overflow`. 0: no limit.",
    )
    max_active_entities: CountOrZero = Field(
        default=0,
        description="Most active label sets of a tenant, each with all of its series. Beyond it: as with "
        "`max_active_series`. 0: no limit.",
    )
    max_cardinality_per_label: CountOrZero = Field(
        default=0,
        description="Most values of a label. Further values become `__cardinality_overflow__`. 0: no limit.",
    )
    exemplars: bool = Field(
        default=True, description="Keep the trace id of one span per histogram bucket, for exemplars."
    )
    trace_id_label_name: LabelName = Field(
        default="traceID", description="Label of an exemplar that holds the trace id."
    )
    generate_native_histograms: Literal["classic", "native", "both"] = Field(
        default="classic",
        description="Kind of histograms: classic (a series per bucket), native (exponential buckets), or both.",
    )
    native_histogram_bucket_factor: Annotated[float, Field(gt=1, le=65536)] = Field(
        default=1.1, description="Largest ratio between the bounds of two adjacent buckets of a native histogram."
    )
    native_histogram_max_bucket_number: CountOrZero = Field(
        default=100,
        description="Most buckets of a native histogram. Beyond it adjacent buckets are merged in pairs. 0: no limit.",
    )

    @model_validator(mode="after")
    def _a_limit_holds(self) -> Self:
        for kind, name in (("series", "max_active_entities"), ("entity", "max_active_series")):
            if self.limiter_type == kind and getattr(self, name):
                raise conflict(name, f"does not hold while registry.limiter_type is {kind}", "limiter_type")
        return self


class Mapping(Section):
    name: Name = Field(description="Name of the label.")
    source_labels: Annotated[Attributes, AfterValidator(_some)] = Field(
        description="Attributes whose values the label joins. Absent ones are left out."
    )
    join: str = Field(default="", description="Separator between the values.")


class MatchedAttribute(Section):
    key: Annotated[str, Words("kind, name, status, resource.<key> or span.<key>"), AfterValidator(_matchable)] = Field(
        description="Field to compare: `kind`, `name`, `status`, `resource.<key>` or `span.<key>`."
    )
    value: str = Field(description="Value that the field must have, spelled as in labels, or a regular expression.")


class Match(Section):
    match_type: Literal["strict", "regex"] = Field(
        default="strict",
        description="strict: the values must be equal. regex: the regular expression (RE2) must match a part of "
        "the value.",
    )
    attributes: Annotated[tuple[MatchedAttribute, ...], Field(strict=False)] = Field(
        default=(), description="Fields to compare. Empty: this part of the policy does not apply."
    )

    def config(self) -> PolicyMatch | None:
        """The policy part as the generator's configuration; None if it is empty."""
        attributes = tuple(AttributeMatch(one.key, one.value) for one in self.attributes)
        return PolicyMatch(attributes, self.match_type) if attributes else None

    @model_validator(mode="after")
    def _regexes_are_valid(self) -> Self:
        if self.match_type != "regex":
            return self
        # Only here: settings are read without Arrow, which takes long to import.
        from agents.generator.processors.filters import regex_fault

        for number, one in enumerate(self.attributes):
            if wrong := regex_fault(one.value):
                raise conflict(f"attributes[{number}].value", wrong, "attributes")
        return self


class Policy(Section):
    include: Match = Field(default=Match(), description="A span counts only if all of these match.")
    include_any: Match = Field(default=Match(), description="A span counts only if any of these matches.")
    exclude: Match = Field(default=Match(), description="A span does not count if all of these match.")


class SpanMetrics(Section):
    histogram_buckets: Buckets = Field(
        default=LATENCY_BUCKETS_S, description="Upper bounds of the buckets of the latency histogram, in seconds."
    )
    intrinsic_dimensions: Intrinsics = Field(
        default=_INTRINSICS[:4], description=f"Intrinsic labels of every series: any of {', '.join(_INTRINSICS)}."
    )
    dimensions: Attributes = Field(
        default=(), description="Attributes that become labels: the resource's, or else the span's."
    )
    dimension_mappings: Annotated[tuple[Mapping, ...], Field(strict=False)] = Field(
        default=(), description="Labels that join several attributes: a list of `{name, source_labels, join}`."
    )
    filter_policies: Annotated[tuple[Policy, ...], Field(strict=False)] = Field(
        default=(), description="Policies that select spans. A span counts if it passes all of them."
    )
    span_multiplier_key: str = Field(
        default="", description="Attribute that holds a sampling ratio: a span with 0.1 counts as 10. Empty: none."
    )
    enable_target_info: bool = Field(
        default=False, description="Push `traces_target_info`, and add the labels `job` and `instance` to every series."
    )
    enable_instance_label: bool = Field(
        default=True, description="Whether `enable_target_info` adds the label `instance`."
    )
    target_info_excluded_dimensions: Attributes = Field(
        default=(), description="Resource attributes that `traces_target_info` leaves out."
    )


class ServiceGraphs(Section):
    wait_s: Seconds = Field(
        default=10, description="Seconds that an unpaired span waits for the other span of its edge."
    )
    max_items: Count = Field(default=100_000, description="Most unpaired spans that wait, per partition.")
    histogram_buckets: Buckets = Field(
        default=GRAPH_BUCKETS_S, description="Upper bounds of the buckets of the request histograms, in seconds."
    )
    dimensions: Attributes = Field(default=(), description="Attributes of either span that become labels of the edge.")
    enable_client_server_prefix: bool = Field(
        default=False, description="Add the prefixes `client_` and `server_` to the labels that `dimensions` creates."
    )
    enable_messaging_system_latency_histogram: bool = Field(
        default=False, description="Push a histogram of the time that messages spent in the messaging system."
    )
    enable_virtual_node_label: bool = Field(
        default=False, description="Add the label `virtual_node`, which names the side of the edge that sends no spans."
    )
    peer_attributes: Attributes = Field(
        default=ServiceGraphsConfig().peer_attributes,
        description="Attributes of a client span that name the called service, if that service sends no spans.",
    )
    database_name_attributes: Attributes = Field(
        default=ServiceGraphsConfig().database_name_attributes,
        description="Attributes that mark a client span as a call to a database.",
    )
    span_multiplier_key: str = Field(default="", description="As `span_metrics.span_multiplier_key`.")


class Processor(Section):
    span_metrics: SpanMetrics = SpanMetrics()
    service_graphs: ServiceGraphs = ServiceGraphs()


class MetricsGenerator(Section):
    """The metrics generator: turns spans into series and pushes them to Prometheus."""

    processors: Processors = Field(
        default=(SERVICE_GRAPHS, SPAN_METRICS),
        description=f"Processors that run: {SERVICE_GRAPHS}, {SPAN_METRICS}, or both.",
    )
    metrics_ingestion_time_range_slack_s: SecondsOrZero = Field(
        default=0,
        description="Ignore spans that ended more than this many seconds before or after Kafka received them. 0: "
        "count all.",
    )
    registry: Registry = Registry()
    processor: Processor = Processor()
    storage: GeneratorStorage = GeneratorStorage()

    @model_validator(mode="after")
    def _edges_expire_while_series_live(self) -> Self:
        if self.registry.stale_duration_s < 2 * self.registry.collection_interval_s:
            raise conflict(
                "registry.stale_duration_s",
                "must be at least two metrics_generator.registry.collection_interval_s, or series end between pushes",
                "registry.collection_interval_s",
            )
        return self

    def config(self, instance: str) -> GeneratorConfig:
        """The generator's configuration. instance: label that separates this worker's series from another's"""
        spans, graphs, registry = self.processor.span_metrics, self.processor.service_graphs, self.registry
        named = [pair.partition("=") for pair in registry.external_labels]
        return GeneratorConfig(
            processors=frozenset(self.processors),
            span_metrics=SpanMetricsConfig(
                **{
                    **spans.model_dump(),
                    "intrinsic_dimensions": frozenset(spans.intrinsic_dimensions),
                    "dimension_mappings": tuple(
                        DimensionMapping(one.name, one.source_labels, one.join) for one in spans.dimension_mappings
                    ),
                    "filter_policies": tuple(
                        FilterPolicy(one.include.config(), one.include_any.config(), one.exclude.config())
                        for one in spans.filter_policies
                    ),
                }
            ),
            service_graphs=ServiceGraphsConfig(**graphs.model_dump()),
            external_labels=((_INSTANCE, instance), *((name, value) for name, _, value in named)),
            max_active_series=registry.max_active_series,
            limiter_type=registry.limiter_type,
            max_active_entities=registry.max_active_entities,
            max_cardinality_per_label=registry.max_cardinality_per_label,
            exemplars=registry.exemplars,
            trace_id_label_name=registry.trace_id_label_name,
            generate_native_histograms=registry.generate_native_histograms,
            native_histogram_bucket_factor=registry.native_histogram_bucket_factor,
            native_histogram_max_bucket_number=registry.native_histogram_max_bucket_number,
            ingestion_time_range_slack_s=self.metrics_ingestion_time_range_slack_s,
            stale_duration_s=registry.stale_duration_s,
        )
