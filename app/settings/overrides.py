"""Settings of single tenants: a file of their own, read again while the process runs. Names are Tempo's.

What a tenant's entry does not say holds as `overrides.defaults` says, and else as the settings do, key by key.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, TypeVar

from pydantic import Field, model_validator

from app.settings.base import Section
from app.settings.generator import MetricsGenerator, Processor, Processors, Registry
from app.settings.values import Seconds, SecondsOrZero

S = TypeVar("S", bound=Section)
_FIELDS: Final[Mapping[str, Any]] = MetricsGenerator.model_fields


class GeneratorOverrides(Registry):
    """Of metrics_generator, what a tenant may have its own; as in Tempo, settings of `registry` stand at the top."""

    processors: Processors = _FIELDS["processors"]
    processor: Processor = Processor()
    metrics_ingestion_time_range_slack_s: SecondsOrZero = _FIELDS["metrics_ingestion_time_range_slack_s"]

    @model_validator(mode="after")
    def _a_limit_holds(self) -> Self:
        """Not here, as in the registry: the other half may stand in the settings. `over` looks at both."""
        return self

    def over(self, settings: MetricsGenerator) -> MetricsGenerator:
        """The settings, with what is set here instead. Raises: ValidationError if the two do not fit together."""
        parts = {
            "registry": _over(settings.registry, self, Registry.model_fields),
            "processor": _over(settings.processor, self.processor, Processor.model_fields),
        }
        own = {name: getattr(self, name) for name in self.model_fields_set if name in MetricsGenerator.model_fields}
        return MetricsGenerator.model_validate({**dict(settings), **own, **parts})


class TenantOverrides(Section):
    metrics_generator: GeneratorOverrides = GeneratorOverrides()


class Overrides(Section):
    defaults: TenantOverrides = TenantOverrides()
    per_tenant_override_config: str = Field(
        default="",
        description="YAML file with settings of single tenants: `overrides: {<tenant>: {metrics_generator: …}}`. "
        "Tenant `*` stands for all that have no entry. A changed file is read again while the process "
        "runs. Empty: none.",
    )
    per_tenant_override_period_s: Seconds = Field(default=10, description="Seconds between two checks of that file.")


def _over(below: S, above: Section, names: Iterable[str]) -> S:
    """`below`, with those fields of `above` that are set."""
    said = {name: getattr(above, name) for name in names if name in above.model_fields_set}
    for name, value in said.items():
        if isinstance(value, Section):
            said[name] = _over(getattr(below, name), value, type(value).model_fields)
    return type(below).model_validate({**dict(below), **said})
