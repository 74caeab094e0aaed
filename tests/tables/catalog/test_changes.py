"""What changes an index: each block is accounted for once, whatever is done twice or in another order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.blocks.meta import BlockMeta
from tables.catalog.changes import add_blocks, forget_removed, remove_blocks, replace_blocks
from tables.catalog.tenant_index import Removed, TenantIndex, rows_of
from tests.helpers.blocks.catalog import CLUSTER, block_meta, merged_meta

P0, P1 = (CLUSTER, 0), (CLUSTER, 1)
A, B, C = block_meta(0, 9), block_meta(10, 19), block_meta(20, 29)


def index_of(*metas: BlockMeta, **other: Any) -> TenantIndex:
    return TenantIndex("t", 3, rows_of(metas), **other)


def ids(index: TenantIndex | None) -> list[str]:
    assert index is not None
    found: list[str] = index.table["block_id"].to_pylist()
    return found


def test_add_blocks() -> None:
    """Only what lies behind the covered offset: the rest is a row already, or was removed."""
    index = index_of(A, covered={P0: 10})
    added = add_blocks(index, [A, B], {P0: 20, P1: 5})
    assert added is not None
    assert (added.metas(), added.covered) == ([A, B], {P0: 20, P1: 5})
    assert (index.metas(), index.covered) == ([A], {P0: 10})
    assert add_blocks(added, [A, B], {P0: 20, P1: 5}) is added
    assert add_blocks(added, [A], {P0: 10}) is added


def test_blocks_of_other_places_have_their_own_offsets() -> None:
    index = index_of(A, covered={P0: 10})
    other, former = block_meta(0, 9, partition=1), block_meta(0, 9, cluster_id="former")
    added = add_blocks(index, [other, former], {P1: 10, ("former", 0): 10})
    assert ids(added) == [A.block_id, other.block_id, former.block_id]


def test_an_index_that_covers_less_than_was_thought() -> None:
    """The blocks between would be lost for good."""
    assert add_blocks(TenantIndex("t"), [B], {P0: 20}, since={P0: 10}) is None
    assert add_blocks(index_of(A, covered={P0: 10}), [B], {P0: 20}, since={P0: 10}) is not None


def test_replace_blocks() -> None:
    """One step, and only once."""
    merged = merged_meta([A, B])
    index = index_of(A, B, C, covered={P0: 30})
    changed = replace_blocks(index, [merged], [A.block_id, B.block_id], now_s=5.0)
    assert changed is not None
    assert changed.metas() == [C, merged]
    assert changed.removed == (Removed(A.block_id, 5.0), Removed(B.block_id, 5.0))
    assert changed.covered == index.covered
    assert replace_blocks(changed, [merged], [A.block_id, B.block_id], now_s=6.0) is None
    assert replace_blocks(changed, [merged_meta([B, C])], [B.block_id, C.block_id], now_s=6.0) is None
    assert changed.names(merged.block_id)


def test_blocks_can_be_replaced_by_nothing() -> None:
    """All of a block's spans were dropped."""
    changed = replace_blocks(index_of(A, B), [], [A.block_id], now_s=5.0)
    assert ids(changed) == [B.block_id]


def test_remove_and_forget() -> None:
    index = index_of(A, B)
    changed = remove_blocks(index, [A.block_id, "unknown"], now_s=5.0)
    assert (ids(changed), changed.removed) == ([B.block_id], (Removed(A.block_id, 5.0),))
    assert remove_blocks(changed, [A.block_id], now_s=9.0) is changed
    assert forget_removed(changed, ["unknown"]) is changed
    assert forget_removed(changed, [A.block_id]).removed == ()


def offsets_of(metas: list[BlockMeta]) -> list[int]:
    files = [file for meta in metas for file in meta.files]
    return [n for file in files for n in range(file.start_min_ns // 1000, file.end_max_ns // 1000 + 1)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 6)),
        st.tuples(st.just("merge"), st.lists(st.integers(0, 5), min_size=2, max_size=3, unique=True)),
        st.tuples(st.just("remove"), st.integers(0, 5)),
    ),
    max_size=8,
)


@pytest.mark.parametrize("twice", [False, True])
@given(steps=STEPS)
def test_each_span_is_counted_once(twice: bool, steps: list[tuple[str, Any]]) -> None:
    """Whatever steps, each done once or twice: rows never overlap, and hold what was covered and not removed."""
    blocks = [block_meta(10 * n, 10 * n + 9) for n in range(6)]
    index, removed = TenantIndex("t"), set[int]()
    for kind, what in [step for step in steps for _ in range(1 + twice)]:
        rows = index.metas()
        if kind == "add":
            index = add_blocks(index, blocks[:what], {P0: 10 * what}) or index
        elif kind == "merge":
            inputs = [rows[n] for n in what if n < len(rows)]
            if len(inputs) > 1:
                names = [meta.block_id for meta in inputs]
                index = replace_blocks(index, [merged_meta(inputs)], names, 1.0) or index
        elif what < len(rows):
            removed.update(offsets_of([rows[what]]))
            index = remove_blocks(index, [rows[what].block_id], 1.0)
    offsets = offsets_of(index.metas())
    assert sorted(offsets) == [n for n in range(index.covered.get(P0, 0)) if n not in removed]
    assert sum(meta.spans for meta in index.metas()) == len(offsets)
