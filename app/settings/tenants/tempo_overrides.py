"""Overrides as Tempo spells them → our own keys: the flat names of old, its names of durations, its mappings.

Nothing is left out without a word. A key that is right in Tempo and means nothing here is a warning with the reason,
where the tenant loses nothing by it; one that would change what is stored or pushed is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.settings.document import Document
from app.settings.keys import Key, dotted
from app.settings.problems import Problem
from app.settings.values import duration_text, parse_duration

# The flat names of old: a beginning, and the section that the rest is in. The first that fits counts.
_FLAT: Final[Sequence[tuple[str, Key]]] = (
    ("metrics_generator_processor_service_graphs_", ("metrics_generator", "processor", "service_graphs")),
    ("metrics_generator_processor_span_metrics_", ("metrics_generator", "processor", "span_metrics")),
    ("metrics_generator_processor_host_info_", ("metrics_generator", "processor", "host_info")),
    ("metrics_generator_forwarder_", ("metrics_generator", "forwarder")),
    ("metrics_generator_", ("metrics_generator",)),
    ("ingestion_", ("ingestion",)),
)
_FLAT_SECTIONS: Final[Mapping[str, Sequence[str]]] = {
    "ingestion": ("max_traces_per_user", "max_global_traces_per_user"),
    "compaction": ("block_retention", "compaction_window", "compaction_disabled"),
    "read": (
        "max_bytes_per_tag_values_query",
        "max_blocks_per_tag_values_query",
        "max_condition_groups_per_tag_query",
        "max_search_duration",
        "max_metrics_duration",
        "unsafe_query_hints",
        "left_pad_trace_ids",
        "metrics_spanonly_fetch",
        "span_pruning_awareness",
        "engine_bytes_tracking",
        "span_pruning_enabled",
    ),
    "global": ("max_bytes_per_trace",),
    "storage": ("parquet_dedicated_columns",),
}
_FLAT_AS_NOW: Final = frozenset({"forwarders", "cost_attribution"})
_FLAT_NAMES: Final = {name: section for section, names in _FLAT_SECTIONS.items() for name in names}

# Tempo's keys that have another place or name here.
_GENERATOR: Final = "metrics_generator"
_RENAMED: Final[Mapping[Key, Key]] = {
    ("global", "max_bytes_per_trace"): ("ingestion", "max_bytes_per_trace"),
    (_GENERATOR, "collection_interval"): (_GENERATOR, "collection_interval_s"),
    (_GENERATOR, "ingestion_time_range_slack"): (_GENERATOR, "metrics_ingestion_time_range_slack_s"),
}
_TIMES: Final = frozenset(_RENAMED) - {("global", "max_bytes_per_trace")}
_INTRINSICS_ON: Final = ("service", "span_name", "span_kind", "status_code")  # where nobody says otherwise
_INTRINSICS: Final = (_GENERATOR, "processor", "span_metrics", "intrinsic_dimensions")

# Without them nothing is lost.
_IGNORED: Final[Mapping[Key, str]] = {
    ("ingestion", "max_traces_per_user"): "the live store has no list of live traces that could be too long",
    ("ingestion", "max_global_traces_per_user"): "the live store has no list of live traces that could be too long",
    ("ingestion", "tenant_shard_size"): "all partitions of Kafka take spans of every tenant",
    ("ingestion", "artificial_delay"): "an answer is sent when Kafka has the spans, and not later",
    ("read", "max_blocks_per_tag_values_query"): "query.memory_bytes_max and query.timeout_s limit such a query",
    ("read", "max_condition_groups_per_tag_query"): "conditions are evaluated as they are, and not multiplied out",
    ("read", "unsafe_query_hints"): "all hints of queries are safe",
    ("read", "metrics_spanonly_fetch"): "there is one way to fetch",
    ("read", "span_pruning_awareness"): "spans are not pruned",
    ("read", "engine_bytes_tracking"): "query.memory_bytes_max counts these bytes always",
    ("read", "span_pruning_enabled"): "spans are not pruned",
    ("storage", "parquet_dedicated_columns"): "every attribute has a column of its own",
    (_GENERATOR, "ring_size"): "Kafka's consumer group divides the partitions",
    (_GENERATOR, "forwarder"): "spans come to the generator through Kafka, without a queue",
    (_GENERATOR, "native_histogram_min_reset_duration"): "native histograms are never reset",
}
# With them spans or series would be other than the operator expects.
_REFUSED: Final[Mapping[Key, str]] = {
    ("read", "left_pad_trace_ids"): "trace ids of searches are without left zeros, as Tempo's clients expect",
    (_GENERATOR, "remote_write_headers"): "set metrics_generator.storage.remote_write[].headers",
    (_GENERATOR, "span_name_sanitization"): "names of spans stay as they are",
    (_GENERATOR, "processor", "host_info"): "there is no processor host-info",
    (_GENERATOR, "processor", "service_graphs", "filter_policies"): "service graphs are made of all spans",
    (_GENERATOR, "processor", "service_graphs", "enable_tracestate_span_multiplier"): "set span_multiplier_key",
    (_GENERATOR, "processor", "span_metrics", "enable_tracestate_span_multiplier"): "set span_multiplier_key",
}
# These values are what happens here anyway.
_HARMLESS: Final[tuple[Any, ...]] = (None, False, "", "disabled", [], {})


@dataclass(slots=True)
class ConvertedEntry:
    """What one entry became. moved: our keys and those of the file; problems and warnings name the file's keys"""

    tree: dict[str, Any] = field(default_factory=dict)
    moved: dict[Key, Key] = field(default_factory=dict)
    problems: dict[Key, str] = field(default_factory=dict)
    warnings: dict[Key, str] = field(default_factory=dict)


def convert(entry: Mapping[str, Any]) -> ConvertedEntry:
    """One tenant's entry in our own keys. Values of a wrong type stay as they are: the models say what is wrong."""
    found = ConvertedEntry()
    for name, value in entry.items():
        _convert(found, _nested(str(name)), (str(name),), value)
    return found


def convert_in(document: Document, at: Key) -> tuple[list[Problem], list[Problem]]:
    """Converts the entry of a document at a key, in place. Out: problems, and warnings."""
    parent: Any = document.tree
    for part in at[:-1]:
        parent = parent.get(part) if isinstance(parent, dict) else None
    entry = parent.get(at[-1]) if isinstance(parent, dict) else None
    if not isinstance(entry, dict):
        return [], []
    found = convert(entry)
    parent[at[-1]] = found.tree
    for new, old in found.moved.items():
        below = {key: place for key, place in document.places.items() if key[: len(at) + len(old)] == (*at, *old)}
        for key, place in below.items():
            document.places[(*at, *new, *key[len(at) + len(old) :])] = place
        for end in range(1, len(new)):  # sections that the file does not have
            document.places.setdefault((*at, *new[:end]), document.places.get((*at, *old)) or document.places[at])

    def said(texts: Mapping[Key, str]) -> list[Problem]:
        whole = {(*at, *key): why for key, why in texts.items()}
        return [Problem(document.places.get(key), f"{dotted(key)}: {why}") for key, why in whole.items()]

    return said(found.problems), said(found.warnings)


def is_flat(name: str) -> bool:
    """Whether it is a name of Tempo's old format, which has no sections."""
    return name in _FLAT_AS_NOW or name in _FLAT_NAMES or any(name.startswith(start) for start, _ in _FLAT)


def _nested(name: str) -> Key:
    if name in _FLAT_NAMES:
        return (_FLAT_NAMES[name], name)
    for beginning, section in _FLAT:
        if name.startswith(beginning):
            return (*section, name.removeprefix(beginning))
    return (name,)


def _convert(found: ConvertedEntry, key: Key, old: Key, value: Any) -> None:
    if why := _reason(_REFUSED, key):
        if value not in _HARMLESS:
            found.problems[old] = f"has no counterpart here: {why}"
        return
    if why := _reason(_IGNORED, key):
        found.warnings[old] = f"has no counterpart here and is ignored: {why}"
        return
    if isinstance(value, dict) and key != _INTRINSICS and _is_section(key):
        if not value:
            _set(found, key, old, value)
        for name, item in value.items():
            _convert(found, (*key, str(name)), (*old, str(name)), item)
        return
    value = _CHANGED.get(key, _same)(value)
    new = _RENAMED.get(key, key)
    if _at(found.tree, new) is not _NOTHING and value != {}:
        found.problems[old] = f"says the same as {dotted(found.moved[new])}, under another name; remove one"
        return
    _set(found, new, old, value)


def _reason(reasons: Mapping[Key, str], key: Key) -> str:
    """Why a key means nothing here; the old format names the keys of a section, and not the section itself."""
    return next((reasons[key[:end]] for end in range(len(key), 0, -1) if key[:end] in reasons), "")


def _is_section(key: Key) -> bool:
    """Whether the keys below are ours or Tempo's: not those of a mapping that the user makes."""
    return key != ("cost_attribution", "dimensions")


_NOTHING: Final = object()


def _at(tree: Any, key: Key) -> Any:
    for part in key:
        if not isinstance(tree, dict) or part not in tree:
            return _NOTHING
        tree = tree[part]
    return tree


def _set(found: ConvertedEntry, key: Key, old: Key, value: Any) -> None:
    tree = found.tree
    for part in key[:-1]:
        below = tree.setdefault(str(part), {})
        if not isinstance(below, dict):
            found.problems[old] = f"{dotted(key[:-1])} is a value, not a section"
            return
        tree = below
    if isinstance(value, dict) and not value:
        tree.setdefault(str(key[-1]), {})
    else:
        tree[str(key[-1])] = value
    found.moved[key] = old


def _same(value: Any) -> Any:
    return value


def _seconds(value: Any) -> Any:
    try:
        return parse_duration(value)
    except ValueError:
        return value  # the model says what it expects


def switched_on(value: Any) -> Any:
    """Tempo's `{service: true, span_kind: false}` as the names of those that are on; `status_message` is off."""
    if not isinstance(value, dict) or not all(isinstance(one, bool) for one in value.values()):
        return value
    on = {**dict.fromkeys(_INTRINSICS_ON, True), **value}
    return [name for name, is_on in on.items() if is_on]


_CHANGED: Final[Mapping[Key, Callable[[Any], Any]]] = {**dict.fromkeys(_TIMES, _seconds), _INTRINSICS: switched_on}


def to_tempo(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Our keys as Tempo's API names them. In: a plain tree, as `model_dump` makes it"""
    out: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], above: Key) -> None:
        for name, value in tree.items():
            key = (*above, name)
            if isinstance(value, dict) and _is_section(key):
                walk(value, key)
                continue
            if key in _OURS:
                key, value = _OURS[key], duration_text(value) if _OURS[key] in _TIMES else value
            elif key == _INTRINSICS:
                value = dict.fromkeys(_INTRINSICS_ON, False) | dict.fromkeys(value, True)
            at = out
            for part in key[:-1]:
                at = at.setdefault(str(part), {})
            at[str(key[-1])] = value

    walk(entry, ())
    return out


_OURS: Final[Mapping[Key, Key]] = {new: old for old, new in _RENAMED.items()}
