"""Goes through Tempo's tree key by key, and puts what has a counterpart into ours."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from app.settings.document import Text
from app.settings.keys import Key, dotted, field_at, is_list, not_supported, section_of
from app.settings.migration.reasons import Drop, Manual, Move
from app.settings.migration.report import Migrated
from app.settings.migration.rules import ANYWHERE, DESCEND, INLINE, RULES
from app.settings.migration.values import Converted, labels, seconds
from app.settings.tenants.tempo_overrides import switched_on

# Values that say that something is not used.
_UNUSED: Final[tuple[Any, ...]] = (None, False, "", 0, [], {}, "disabled")
_TLS: Final = ("http_tls_config", "grpc_tls_config", "internal_tls_config")

_VALUES: Final[Mapping[Key, Callable[[Any], Converted]]] = {
    ("metrics_generator", "registry", "external_labels"): labels,
    ("metrics_generator", "processor", "span_metrics", "intrinsic_dimensions"): lambda value: Converted(
        switched_on(value)
    ),
}


class Walk:
    """One for a file. special: what handles a whole section of Tempo's by itself"""

    def __init__(self, found: Migrated, special: Mapping[Key, Callable[[Any], None]]) -> None:
        self._found, self._special = found, special

    def section(self, tree: Mapping[str, Any], theirs: Key, ours: Key) -> None:
        """Takes all keys of a section. theirs, ours: where it is in Tempo's file, and where it goes"""
        for name, value in tree.items():
            self._key((*theirs, name), (*ours, name), value)

    def _key(self, theirs: Key, ours: Key, value: Any) -> None:
        if theirs in self._special:
            self._special[theirs](value)
            return
        name = str(theirs[-1])
        rule = RULES.get(theirs) or (ANYWHERE.get(name) if not isinstance(theirs[-1], int) else None)
        if rule is None and len(theirs) > 1 and theirs[-2] in _TLS:
            rule = INLINE.get(name)
        match rule:
            case Drop(why):
                self._found.note(self._found.dropped, theirs, why)
            case Manual(why):
                if value not in _UNUSED and not _all_unused(value):
                    self._found.note(self._found.manual, theirs, why)
            case Move(to, why):
                self._move(theirs, tuple(to.split(".")), value, why)
            case _:
                self._same(theirs, ours, value)

    def _move(self, theirs: Key, ours: Key, value: Any, why: str) -> None:
        if field_at(ours) is None:  # our settings do not have it
            self._found.note(self._found.dropped, theirs, why)
            return
        if value not in (None, {}):
            self._found.note(self._found.changed, theirs, f"is {dotted(ours)} here")
        self._same(theirs, ours, value)

    def _same(self, theirs: Key, ours: Key, value: Any) -> None:
        field = field_at(ours)
        if field is None and theirs in DESCEND:
            if isinstance(value, dict):
                self.section(value, theirs, ours)
            return
        if field is None:
            self._unknown(theirs, ours, value)
            return
        section = section_of(field.annotation)
        if section is not None and is_list(field.annotation) and isinstance(value, list):
            self._found.put(ours, theirs, {} if value else [])
            for number, item in enumerate(value):
                self._found.put((*ours, number), (*theirs, number), {})
                self.section(item if isinstance(item, dict) else {}, (*theirs, number), (*ours, number))
        elif section is not None and not is_list(field.annotation):
            if isinstance(value, dict):
                self.section(value, theirs, ours)
            elif value is not None:
                self._found.note(self._found.manual, theirs, "expected a section here")
        else:
            self._leaf(theirs, ours, value)

    def _leaf(self, theirs: Key, ours: Key, value: Any) -> None:
        if value is None:
            return
        if str(ours[-1]).endswith("_s") and not str(theirs[-1]).endswith("_s"):
            converted = seconds(value)
            if field_at(theirs) is None and ours != theirs and ours[:-1] == theirs[:-1]:
                self._found.note(self._found.changed, theirs, f"is {dotted(ours)} here, in seconds")
        elif ours in _VALUES:
            converted = _VALUES[ours](value)
            if converted.value != value:
                self._found.note(self._found.changed, theirs, "is a list here")
        else:
            field = field_at(ours)
            whole = isinstance(value, float) and value.is_integer() and field is not None and field.annotation is int
            converted = Converted(int(value) if whole else value)
        for notes, text in (
            (self._found.changed, converted.changed),
            (self._found.dropped, converted.dropped),
            (self._found.manual, converted.manual),
        ):
            if text:
                self._found.note(notes, theirs, text)
        self._found.put(ours, theirs, converted.value)

    def _unknown(self, theirs: Key, ours: Key, value: Any) -> None:
        in_seconds = (*ours[:-1], f"{ours[-1]}_s")
        if field_at(in_seconds) is not None:
            self._leaf(theirs, in_seconds, value)
        elif why := not_supported(ours):
            self._found.note(self._found.dropped, theirs, why)
        elif value not in (None, {}, [], "") or isinstance(value, Text):
            self._found.note(self._found.manual, theirs, "is no key of Tempo that is known here, nor one of Stretto's")


def _all_unused(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_all_unused(item) for item in value.values())
    return not isinstance(value, Text) and value in _UNUSED


def as_lists(tree: Any) -> Any:
    """A tree in which mappings from 0, 1, … are lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(isinstance(name, int) for name in tree):
        return [as_lists(tree[number]) for number in sorted(tree)]
    return {name: as_lists(value) for name, value in tree.items()}
