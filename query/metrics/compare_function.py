"""`compare({ … })`: how often each value of each attribute is among the selected spans, and among the others."""

from typing import Any, Final

import numpy as np

from query.engine.expressions import matches
from query.engine.groups import NIL
from query.language import ast
from query.metrics.partials import Partial
from query.metrics.value_counts import META_ERROR_KEY, VALUES_MAX
from query.results import Attributes
from query.scan.arrays import Mask
from query.scan.reader import Reader
from tables.columns.types import Floats
from tables.turns import drop

META_TYPE: Final = "__meta_type"
META_ERROR: Final = "__meta_error"
TOO_MANY_VALUES: Final = META_ERROR_KEY
# What is compared besides attributes. Not durations and ids, which hardly ever come twice.
COMPARED: Final = (
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
NIL_COUNTED: Final = frozenset(
    [
        *(ast.Attribute("resource", f"k8s.{key}.name") for key in ("cluster", "namespace", "pod", "container")),
        *(ast.Attribute("span", f"http.{key}") for key in ("request.method", "response.status_code", "route")),
        *(ast.Attribute("span", f"http.{key}") for key in ("method", "status_code", "url")),
        *(ast.Attribute("span", key) for key in ("url.path", "url.route", "server.address", "server.port")),
    ]
)


def selected(function: ast.Compare, reader: Reader) -> Mask:
    """The spans of a source that compare() asks about."""
    condition = function.selection.condition
    mask = np.ones(reader.rows, bool) if condition is None else matches(condition, reader)
    if function.start_ns or function.end_ns:
        starts = reader.numbers("start_ns")
        mask = mask & (starts > function.start_ns) & (starts <= function.end_ns)
    return mask


def compare_series(partial: Partial, top_n: int) -> list[tuple[Attributes, Floats]]:
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
    drop(values)
    drop(distinct)
    return out


def _plain(part: Any) -> Any:
    return part[1]
