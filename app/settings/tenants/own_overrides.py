"""What tenants may set themselves at /api/overrides: the fields that Tempo lets them set, under its names."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from app.settings.keys import Key, dotted
from app.settings.load import settle
from app.settings.problems import from_validation
from app.settings.tenants.overrides import TenantOverrides
from app.settings.tenants.tempo_overrides import convert, to_tempo

_GENERATOR: Final = "metrics_generator"
# Ours; below a key everything.
_ALLOWED: Final[tuple[Key, ...]] = (
    ("forwarders",),
    ("cost_attribution", "dimensions"),
    (_GENERATOR, "processors"),
    (_GENERATOR, "disable_collection"),
    (_GENERATOR, "collection_interval_s"),
    (_GENERATOR, "trace_id_label_name"),
    (_GENERATOR, "metrics_ingestion_time_range_slack_s"),
    (_GENERATOR, "generate_native_histograms"),
    (_GENERATOR, "native_histogram_max_bucket_number"),
    (_GENERATOR, "native_histogram_bucket_factor"),
    (_GENERATOR, "processor"),
)
# A tenant's interval makes the generator collect for everybody.
_INTERVAL_S: Final = (15.0, 300.0)


def read_own(tree: Any) -> TenantOverrides:
    """What a tenant sets, from JSON. Raises: ValueError, which names all that is wrong"""
    if not isinstance(tree, Mapping):
        raise ValueError("expected a JSON object")
    found = convert(tree)
    wrong = [f"{dotted(key)}: {why}" for key, why in (*found.problems.items(), *found.warnings.items())]
    names = [dotted(found.moved.get(key, key)) for key in _others(found.tree)]
    wrong += [f"{name}: tenants cannot set this, only the operator" for name in names]
    if wrong:
        raise ValueError("; ".join(wrong))
    try:
        entry = TenantOverrides.model_validate(settle(found.tree, TenantOverrides))
    except ValidationError as failed:
        problems = from_validation(failed, {}, frozenset(), TenantOverrides)
        raise ValueError("; ".join(str(problem) for problem in problems)) from None
    generator = entry.metrics_generator
    least, most = _INTERVAL_S
    if "collection_interval_s" in generator.model_fields_set and not least <= generator.collection_interval_s <= most:
        raise ValueError(f"metrics_generator.collection_interval: must be from {least:g}s to {most:g}s")
    return entry


def _others(tree: Mapping[str, Any], above: Key = ()) -> list[Key]:
    """The keys that are none of _ALLOWED, nor on the way to one."""
    found: list[Key] = []
    for name, value in tree.items():
        key = (*above, name)
        if key in _ALLOWED:
            continue
        if isinstance(value, Mapping) and any(allowed[: len(key)] == key for allowed in _ALLOWED):
            found += _others(value, key)
        else:
            found.append(key)
    return found


def shown(entry: TenantOverrides) -> dict[str, Any]:
    """Of what counts for a tenant what it may set, under Tempo's names."""
    tree = entry.model_dump(mode="json", exclude_unset=True)
    for key in _others(tree):
        at: Any = tree
        for part in key[:-1]:
            at = at[part]
        del at[key[-1]]
    return to_tempo({name: value for name, value in tree.items() if value != {}})
