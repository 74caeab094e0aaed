"""The state that a metrics generator needs to continue after a crash: counters, the offsets that they include, and
pushes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from agents.generator.push.push import Push, PushPart, TableUpdate
from agents.generator.series.columns_file import LabelSets, Plain, Tree, dump, parse
from agents.generator.series.exemplars import EXEMPLAR
from agents.generator.series.native import NativeState
from agents.generator.series.snapshot import ExemplarsOf, Metric, Natives, Snapshot
from tables.errors import NEWER, WireError

_VERSION: Final = 2
_NATIVE_STATE: Final = tuple(field.name for field in fields(NativeState))


@dataclass(frozen=True, eq=False, slots=True)
class SavedTenant:
    """State of one tenant.

    state: for `TenantGenerator.restore`
    push: the last collection, including what was held back before
    held: the push was not due yet
    pushed_ms: time of the last push
    """

    fingerprint: str
    state: Tree
    push: Push
    held: bool
    pushed_ms: int


@dataclass(frozen=True, eq=False, slots=True)
class Saved:
    """State of a worker.

    cluster_id: the Kafka cluster of the positions; instance: the worker; number, collected_ms: of the last collection
    positions: by partition, the next offset, and the time up to which unpaired spans have waited
    backlog: by target and tenant, earlier pushes that the target has not accepted or rejected
    """

    cluster_id: str
    topic: str
    instance: str
    number: int
    collected_ms: int
    positions: Mapping[int, tuple[int, int]]
    tenants: Mapping[str, SavedTenant]
    backlog: Mapping[tuple[str, str], Sequence[Push]]


def encode(saved: Saved) -> bytes:
    """The journal as bytes; `decode` reads them."""
    tree = {
        **_of(saved, "cluster_id", "topic", "instance", "number", "collected_ms"),
        "version": _VERSION,
        "positions": [[partition, *position] for partition, position in saved.positions.items()],
        "tenants": {
            name: {
                "fingerprint": one.fingerprint,
                "state": one.state,
                "push": _push_tree(one.push),
                "held": one.held,
                "pushed_ms": one.pushed_ms,
            }
            for name, one in saved.tenants.items()
        },
        "backlog": [[*key, [_push_tree(push) for push in pushes]] for key, pushes in saved.backlog.items()],
    }
    return dump(tree)


def decode(data: bytes) -> Saved:
    """The state from `encode`. Raises: WireError, also for an intact file of another format"""
    tree = parse(data)
    try:
        return _saved(tree)
    except WireError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as err:
        raise WireError(f"it has another shape: {err!r}") from err


def _saved(tree: Tree) -> Saved:
    if tree["version"] != _VERSION:
        newer = isinstance(tree["version"], int) and tree["version"] > _VERSION
        raise WireError(f"it is of version {tree['version']}, not {_VERSION}{f'; {NEWER}' if newer else ''}")
    return Saved(
        **{name: tree[name] for name in ("cluster_id", "topic", "instance", "number", "collected_ms")},
        positions={partition: (offset, waited_ms) for partition, offset, waited_ms in tree["positions"]},
        tenants={name: SavedTenant(**{**one, "push": _push(one["push"])}) for name, one in tree["tenants"].items()},
        backlog={(target, tenant): [_push(one) for one in pushes] for target, tenant, pushes in tree["backlog"]},
    )


# ---- pushes


def _push_tree(push: Push) -> Tree:
    return {
        **_of(push, "first", "last", "time_ms", "created_ms"),
        "tables": [[_snapshot_tree(one.snapshot), one.zero_ms, one.native_zero_ms] for one in push.tables],
        "ended": [
            [[_snapshot_tree(one) for one in part.snapshots], part.time_ms, part.created_ms] for part in push.ended
        ],
    }


def _push(tree: Tree) -> Push:
    return Push(
        tree["first"],
        tree["last"],
        tree["time_ms"],
        tree["created_ms"],
        [TableUpdate(_snapshot(one), zero_ms, native_zero_ms) for one, zero_ms, native_zero_ms in tree["tables"]],
        [
            PushPart([_snapshot(one) for one in many], time_ms, created_ms)
            for many, time_ms, created_ms in tree["ended"]
        ],
    )


def _snapshot_tree(one: Snapshot) -> Tree:
    stale = list(zip(*one.stale, strict=True)) or [(), (), ()]
    natives = one.natives
    return {
        "metrics": Plain(one.metrics),
        "labels": LabelSets(one.labels),
        **_of(one, "values", "shown", "created", "trace_id_label"),
        "stale": [LabelSets(list(stale[0])), list(stale[1]), list(stale[2])],
        "natives": None if natives is None else _natives_tree(natives),
        "exemplars": _exemplars_tree(one.exemplars),
        "native_exemplars": _exemplars_tree(one.native_exemplars),
    }


def _snapshot(tree: Tree) -> Snapshot:
    labels, sent, native_sent = tree["stale"]
    return Snapshot(
        **{name: tree[name] for name in ("values", "shown", "created", "trace_id_label")},
        metrics=_metrics(tree["metrics"]),
        labels=tree["labels"].many,
        stale=list(zip(labels.many, sent, native_sent, strict=True)),
        natives=_natives(tree["natives"]),
        exemplars=_exemplars(tree["exemplars"]),
        native_exemplars=_exemplars(tree["native_exemplars"]),
    )


def _metrics(trees: Tree) -> list[Metric]:
    labels = [one["label"] and (one["label"][0], one["label"][1]) for one in trees]
    return [Metric(**{**one, "label": label}) for one, label in zip(trees, labels, strict=True)]


def _natives_tree(natives: Natives) -> Tree:
    return {
        **_of(natives, "rows", "of", "sums", "created", "float_counts"),
        "metrics": Plain(natives.metrics),
        "state": _of(natives.state, *_NATIVE_STATE),
    }


def _natives(tree: Tree) -> Natives | None:
    if tree is None:
        return None
    return Natives(**{**tree, "metrics": _metrics(tree["metrics"]), "state": NativeState(**tree["state"])})


def _of(one: Any, *names: str) -> Tree:
    return {name: getattr(one, name) for name in names}


def _exemplars_tree(one: ExemplarsOf | None) -> Tree:
    return None if one is None else {"series": one.series, "spans": np.frombuffer(one.spans.tobytes(), np.uint8)}


def _exemplars(tree: Tree) -> ExemplarsOf | None:
    return None if tree is None else ExemplarsOf(tree["series"], np.frombuffer(tree["spans"].tobytes(), EXEMPLAR))
