"""`compare({ … })`: how often each value of each attribute is among the selected spans, and among the others."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from query.engine.evaluate import matches
from query.engine.groups import NIL, group
from query.engine.reader import Mask, Reader
from query.language import ast, text
from query.over_time.intervals import Intervals
from query.over_time.observe import Observed
from query.over_time.partials import Floats, Key, Partial, key_part
from query.results import Attributes
from tables.schema import SCOPES, parse_attribute_column

META_TYPE: Final = "__meta_type"
META_ERROR: Final = "__meta_error"
TOO_MANY_VALUES: Final = "__too_many_values__"
# An attribute with more values than this in one source, or in all, is like an id: of no use in a comparison.
VALUES_MAX: Final = 1000

_TYPES: Final = ("baseline", "selection")
_INTRINSICS: Final = (
    "name",
    "kind",
    "status",
    "statusMessage",
    "rootName",
    "rootServiceName",
    "instrumentation:name",
    "instrumentation:version",
    "span:childCount",
)
# Of these "nil" is a value, too: how many spans lack them. They are the attributes that Tempo gives columns of their
# own by default, and that it answers so.
_NIL_COUNTED: Final = frozenset(
    [
        *(ast.Attribute("resource", f"k8s.{key}.name") for key in ("cluster", "namespace", "pod", "container")),
        *(ast.Attribute("span", f"http.{key}") for key in ("request.method", "response.status_code", "route")),
        *(ast.Attribute("span", f"http.{key}") for key in ("method", "status_code", "url")),
        *(ast.Attribute("span", key) for key in ("url.path", "url.route", "server.address", "server.port")),
    ]
)


def contrast(function: ast.Compare, spans: Observed, reader: Reader, intervals: Intervals) -> Partial:
    """Cells of one source. Keys: (type, attribute, value); totals: without a value; (TOO_MANY_VALUES, attribute)."""
    selected = spans.of(_selected(function, reader)).astype(np.int64)
    keys: list[Key] = []
    cells: list[Floats] = []
    for field in _fields(reader):
        groups = group(field, reader)
        label = key_part(text.expression(field))
        codes = spans.of(groups.codes)
        has = (codes > 0) | (field in _NIL_COUNTED)
        codes, kinds, interval = codes[has], selected[has], spans.interval[has]
        totals = np.bincount(kinds * intervals.count + interval, minlength=2 * intervals.count).reshape(2, -1)
        for kind in np.flatnonzero(totals.any(axis=1)).tolist():
            keys.append((key_part(f"{_TYPES[kind]}_total"), label, None))
            cells.append(totals[kind].astype(np.float64))
        used = np.flatnonzero(np.bincount(codes))
        if len(used) > VALUES_MAX:
            keys.append((key_part(TOO_MANY_VALUES), label))
            cells.append(np.zeros(intervals.count))
            continue
        # One value after the other, the others before the selected ones, intervals within.
        place = (np.searchsorted(used, codes) * 2 + kinds) * intervals.count + interval
        counts = np.bincount(place, minlength=len(used) * 2 * intervals.count).astype(np.float64)
        by_value = counts.reshape(len(used), 2, intervals.count)
        for i, kind in np.argwhere(by_value.any(axis=2)).tolist():
            value = groups.label(int(used[i]))
            keys.append((key_part(_TYPES[kind]), label, key_part(NIL if value is None else value)))
            cells.append(by_value[i, kind])
    shape = (len(keys), intervals.count)
    return _added(keys, np.array(cells).reshape(shape))


def _added(keys: list[Key], cells: Floats) -> Partial:
    """Each key once: an attribute that has values of several types has one name."""
    number: dict[Key, int] = {}
    rows = np.array([number.setdefault(key, len(number)) for key in keys], np.int64)
    counts = np.zeros((len(number), cells.shape[1]))
    np.add.at(counts, rows, cells)
    return Partial(list(number), {"count": counts})


def _selected(function: ast.Compare, reader: Reader) -> Mask:
    condition = function.selection.condition
    mask = np.ones(reader.rows, bool) if condition is None else matches(condition, reader)
    if function.start_ns or function.end_ns:
        starts = reader.numbers("start_ns")
        mask = mask & (starts > function.start_ns) & (starts <= function.end_ns)
    return mask


def _fields(reader: Reader) -> Iterator[ast.Field]:
    """What is compared. Not durations and ids, which hardly ever come twice."""
    yield from (ast.Intrinsic(name) for name in _INTRINSICS)
    parsed = (parse_attribute_column(column) for column in sorted(reader.source.columns))
    found = [ast.Attribute(a.scope, a.key) for a in parsed if a and a.scope in SCOPES and a.type != "bytes"]
    found.append(ast.Attribute("resource", "service.name"))  # "" where no resource has one
    yield from dict.fromkeys([*found, *sorted(_NIL_COUNTED, key=text.expression)])


def contrast_labels(partial: Partial, top_n: int) -> list[tuple[Attributes, Floats]]:
    """The series of all sources together: of each attribute the `top_n` most frequent values of either side."""
    counts = partial.cells["count"]
    sums = counts.sum(axis=1)
    values: dict[tuple[Any, Any], list[int]] = {}
    out: list[tuple[Attributes, Floats]] = []
    too_many = {key[1] for key in partial.keys if len(key) == 2}
    for i, key in enumerate(partial.keys):
        if len(key) == 3 and key[2] is not None:
            values.setdefault((key[0], key[1]), []).append(i)
    distinct: dict[Any, set[Any]] = {}
    for (_, attribute), rows in values.items():
        distinct.setdefault(attribute, set()).update(partial.keys[i][2] for i in rows)
    too_many |= {attribute for attribute, found in distinct.items() if len(found) > VALUES_MAX}
    for i, key in enumerate(partial.keys):
        if len(key) == 3 and key[2] is None:
            out.append((((META_TYPE, _plain(key[0])), (_plain(key[1]), NIL)), counts[i]))
    for (kind, attribute), rows in values.items():
        if attribute in too_many:
            continue
        best = sorted(rows, key=lambda i: (-sums[i], str(partial.keys[i][2])))[:top_n]
        out += [(((META_TYPE, _plain(kind)), (_plain(attribute), _plain(partial.keys[i][2]))), counts[i]) for i in best]
    empty = np.zeros(counts.shape[1])
    out += [(((META_ERROR, TOO_MANY_VALUES), (_plain(attribute), NIL)), empty) for attribute in too_many]
    return out


def _plain(part: Any) -> Any:
    return part[1]
