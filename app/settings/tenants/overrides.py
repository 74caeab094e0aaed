"""Settings of single tenants, from a separate file that is reloaded while the process runs. Names are Tempo's.

A key that a tenant's entry does not set has the value of `overrides.defaults`, or else of the settings.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from app.settings.base import Section
from app.settings.sections.compactor import CompactionOverrides
from app.settings.sections.generator import MetricsGenerator, Processor, Processors, Registry
from app.settings.tenants.tenant_limits import CostAttributionOverrides, IngestionOverrides, ReadOverrides
from app.settings.values import Duration, Seconds, SecondsOrZero

S = TypeVar("S", bound=Section)
_FIELDS: Final[Mapping[str, Any]] = MetricsGenerator.model_fields


class GeneratorOverrides(Registry):
    """The part of metrics_generator that a tenant may override. As in Tempo, the settings of `registry` are at the top
    level.
    """

    processors: Processors = _FIELDS["processors"]
    processor: Processor = Processor()
    metrics_ingestion_time_range_slack_s: SecondsOrZero = _FIELDS["metrics_ingestion_time_range_slack_s"]
    disable_collection: bool = Field(default=False, description="Make no metrics: as no `processors`.")

    @model_validator(mode="after")
    def _a_limit_holds(self) -> Self:
        """Not checked here, unlike in the registry: the other setting may be in the settings file. `over` checks
        both.
        """
        return self

    def over(self, settings: MetricsGenerator) -> MetricsGenerator:
        """The settings, overridden by what is set here. Raises: ValidationError if the two conflict"""
        parts = {
            "registry": _over(settings.registry, self, Registry.model_fields),
            "processor": _over(settings.processor, self.processor, Processor.model_fields),
        }
        own = {name: getattr(self, name) for name in self.model_fields_set if name in MetricsGenerator.model_fields}
        if self.disable_collection:
            own["processors"] = ()
        return MetricsGenerator.model_validate({**dict(settings), **own, **parts})


def _texts(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a forwarder is there twice; name each once")
    return names


class TenantOverrides(Section):
    ingestion: IngestionOverrides = IngestionOverrides()
    read: ReadOverrides = ReadOverrides()
    metrics_generator: GeneratorOverrides = GeneratorOverrides()
    compaction: CompactionOverrides = CompactionOverrides()
    cost_attribution: CostAttributionOverrides = CostAttributionOverrides()
    forwarders: Annotated[tuple[str, ...], BeforeValidator(_texts), AfterValidator(_each_once), Field(strict=False)] = (
        Field(default=(), description="Names of the `distributor.forwarders` that get a copy of the tenant's spans.")
    )


class UserConfigurable(Section):
    enabled: bool = Field(
        default=False,
        description="Let tenants change some of their own overrides at `/api/overrides`. They are kept in the object "
        "storage, below `overrides/`.",
    )
    poll_interval: Duration = Field(
        default=60, description="Time between two looks for changed overrides in the object storage."
    )


class Overrides(Section):
    defaults: TenantOverrides = TenantOverrides()
    per_tenant_override_config: str = Field(
        default="",
        description="YAML file with settings of single tenants: `overrides: {<tenant>: {metrics_generator: …, "
        "compaction: …}}`. Tenant `*` stands for all that have no entry. A changed file is read again while the "
        "process runs. Empty: none.",
    )
    per_tenant_override_period_s: Seconds = Field(default=10, description="Seconds between two checks of that file.")
    user_configurable_overrides: UserConfigurable = UserConfigurable()


def layered(below: S, above: Section) -> S:
    """`below`, with what is set in `above` over it. What neither sets stays unset."""
    said: dict[str, Any] = {}
    for name in above.model_fields_set:
        value = getattr(above, name)
        said[name] = layered(getattr(below, name), value) if isinstance(value, Section) else value
    return below.model_copy(update=said)


def _over(below: S, above: Section, names: Iterable[str]) -> S:
    """`below`, with those fields of `above` that are set."""
    said = {name: getattr(above, name) for name in names if name in above.model_fields_set}
    for name, value in said.items():
        if isinstance(value, Section):
            said[name] = _over(getattr(below, name), value, type(value).model_fields)
    return type(below).model_validate({**dict(below), **said})
