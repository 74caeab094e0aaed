"""`stretto blocks check`: finds whatever is not as it was written, and repairs what can be made anew."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.blocks.meta import BlockMeta, merged_block_id
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, replace_blocks
from tables.catalog.check import Checked, Finding, check_bucket, cut_ranges
from tables.catalog.checkpoints import Checkpoint, Checkpoints
from tables.catalog.cuts import Cut, Cuts, cut_path
from tables.catalog.index_store import IndexStore
from tables.catalog.redaction_objects import read_redactions, write_redaction
from tables.catalog.redactions import add_redaction
from tables.catalog.repair import Repair
from tables.parquet.write import to_parquet
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.examples import examples
from tests.query.golden import load_table

PLACE = ("e", 0)
REDACTION = Redaction(attribute="span.secret", created_s=1.0, kept_until_s=2.0)


def segment(first: int, traces: int) -> SegmentFile:
    table = load_table("load\n" + "".join(f"  t{n} a name=x span.n={n % 7}\n" for n in range(traces)))
    ids = [(first + n).to_bytes(16, "big") for n in range(traces)]
    at = table.schema.get_field_index("trace_id")
    table = table.set_column(at, "trace_id", pa.array(ids, pa.binary(16)))
    starts = table["start_ns"].to_pylist()
    return SegmentFile(to_parquet(table), traces, min(starts), max(starts) + 10**6, 5, 6)


def open_store(folder: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(folder)))


def polled(store: ObjectStore) -> BlockList:
    blocks = BlockList(store, "", ByteCache("check", 1 << 22))
    blocks.poll([])
    return blocks


def flush(store: ObjectStore, first: int, last: int, *sizes: int, tenant: str = "t") -> BlockMeta:
    segments = [segment(1000 * first + number, size) for number, size in enumerate(sizes)]
    return write_block(store, BlockRange("e", tenant, 0, 1, first, last), segments)


def build(folder: Path) -> ObjectStore:
    """Blocks 0 to 9 and 10 to 19 are in the index, merged to one, their cuts below a checkpoint are deleted; 20 to 29
    is in the index and has a cut; 30 to 39 has a cut only, with another tenant's.
    """
    store = open_store(folder)
    cuts, indexes = Cuts(store, "e"), IndexStore(store)
    old = [flush(store, 0, 9, 30), flush(store, 10, 19, 30)]
    merged = flush(store, 0, 19, 30, 700)
    for path in list(store.paths(merged.folder)):
        data = store.get(path)
        store.delete([path])
        if not path.endswith("meta.json"):
            store.put(path.replace(merged.block_id, merged_block_id([one.block_id for one in old])), data)
    merged = merged.model_copy(
        update={
            "block_id": merged_block_id([one.block_id for one in old]),
            "level": 1,
            "replaces": [one.block_id for one in old],
        }
    )
    store.put(merged.path, merged.encode())
    third = flush(store, 20, 29, 5, 5)
    cuts.write(Cut(0, 20, 29, (third.key,), (third,)))
    indexes.commit("t", lambda index: add_blocks(index, [*old, third], {PLACE: 30}))
    indexes.commit("t", lambda index: replace_blocks(index, [merged], [one.block_id for one in old], 1.0))
    indexes.commit("t", lambda index: add_redaction(index, REDACTION))
    write_redaction(store, "t", REDACTION)
    store.delete([path for path in store.paths("index") if not path.endswith("3.arrow")])
    Checkpoints(store).write(Checkpoint(PLACE, 20, {"t": 20}))
    fourth, other = flush(store, 30, 39, 8), flush(store, 30, 39, 600, tenant="u")
    cuts.write(Cut(0, 30, 39, (fourth.key, other.key), (fourth, other)))
    # The replaced blocks are deleted, as a compactor does it.
    for one in old:
        store.delete(list(store.paths(one.folder)))
    return store


def check(store: ObjectStore, *, data: bool = True) -> list[Finding]:
    return list(check_bucket(polled(store), data=data))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    build(folder)
    return folder


@pytest.fixture
def bucket(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "bucket")
    return tmp_path / "bucket"


def spans(store: ObjectStore, tenant: str = "t") -> list[tuple[str, int]]:
    return sorted((meta.block_id, meta.spans) for meta in polled(store).snapshot(tenant).blocks)


def test_a_whole_bucket(whole: Path) -> None:
    checked = Checked()
    assert list(check_bucket(polled(open_store(whole)), checked=checked)) == []
    assert checked.objects == {"cuts": 2, "checkpoints": 1, "indexes": 1, "redactions": 1, "blocks": 4, "files": 6}
    assert checked.spans == 30 + 700 + 10 + 8 + 600


def objects(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_single_damage_is_found(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte of whatever object becomes another one, wherever an object is cut off, whichever is deleted."""
    path = data.draw(st.sampled_from(objects(whole)), label="object")
    how = data.draw(st.sampled_from(["byte", "cut off", "deleted"]), label="damage")
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    content = bytearray((folder / path).read_bytes())
    if how == "deleted":
        (folder / path).unlink()
    elif how == "cut off":
        (folder / path).write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="length")])
    else:
        content[data.draw(st.integers(0, len(content) - 1), label="place")] ^= data.draw(
            st.integers(1, 255), label="bits"
        )
        (folder / path).write_bytes(content)
    found = check(open_store(folder))
    shutil.rmtree(folder)
    if how == "deleted" and path.parts[0] == "redactions":
        return  # the index has it, too
    assert found, f"{path}: {how}"


def repaired(folder: Path, *, drop: bool = False) -> list[str]:
    store = open_store(folder)
    blocks = polled(store)
    findings = list(check_bucket(blocks))
    repair = Repair(blocks, cut_ranges(store), lambda tenant: list(read_redactions(store, tenant)))
    return list(repair.run(findings, drop_missing=drop))


@pytest.mark.parametrize("damage", ["deleted", "other bytes", "cut off"])
@pytest.mark.parametrize("kind", ["index", "meta.json", "bloom"])
def test_what_can_be_made_anew_is(whole: Path, bucket: Path, kind: str, damage: str) -> None:
    """All of that kind at once; then nothing is wrong, and readers see what they saw."""
    before = [spans(open_store(whole), tenant) for tenant in "tu"]
    hit = [path for path in objects(bucket) if kind in str(path)]
    assert hit
    for path in hit:
        if damage == "deleted":
            (bucket / path).unlink()
        elif damage == "cut off":
            (bucket / path).write_bytes((bucket / path).read_bytes()[:-7])
        else:
            content = bytearray((bucket / path).read_bytes())
            content[len(content) // 2] ^= 0x11
            (bucket / path).write_bytes(content)
    assert [one for one in check(open_store(bucket)) if one.severity == "error"]
    assert repaired(bucket)
    store = open_store(bucket)
    if kind == "index" and damage != "deleted":
        # The damaged version stays: the next one counts.
        assert {one.severity for one in check(store)} == {"warning"}
    else:
        assert check(store) == []
    assert [spans(store, tenant) for tenant in "tu"] == before
    assert polled(store).redactions("t") == (REDACTION,)


def test_a_block_of_which_data_is_lost_is_dropped_only_if_asked_for(bucket: Path) -> None:
    store = open_store(bucket)
    visible = {meta.block_id: meta for meta in polled(store).snapshot("t").blocks}
    lost = [meta for meta in visible.values() if meta.first_offset in (0, 30)]
    for meta in lost:
        (bucket / meta.folder / "data-0000.parquet").unlink()
    assert len([one for one in check(store) if one.severity == "error"]) == 2
    assert repaired(bucket) == []
    assert len(repaired(bucket, drop=True)) == 2
    assert [one for one in check(store) if one.severity == "error"] == []
    assert {name for name, _ in spans(store)} == visible.keys() - {meta.block_id for meta in lost}


def test_a_block_of_which_everything_is_lost(bucket: Path) -> None:
    """Its cut is of an earlier version, without metas: nothing says any more what the block was."""
    store = open_store(bucket)
    (block,) = [meta for meta in polled(store).snapshot("t").blocks if meta.first_offset == 30]
    other = polled(store).snapshot("u").blocks[0]
    store.delete([cut_path(PLACE, 30)])
    Cuts(store, "e").write(Cut(0, 30, 39, (block.key, other.key)))
    store.delete(list(store.paths(block.folder)))
    errors = [one for one in check(store) if one.severity == "error"]
    assert [(one.block_id, one.repair) for one in errors] == [(block.block_id, "missing")]
    assert len(repaired(bucket, drop=True)) == 1
    assert [one for one in check(store) if one.severity == "error"] == []
    assert polled(store).damaged() == []
    assert [name for name, _ in spans(store, "u")] == [other.block_id]


def test_what_is_left_over_is_a_warning(bucket: Path) -> None:
    """A flush under way, a block whose cut lost against another one, a merge that was not shown."""
    store = open_store(bucket)
    flush(store, 40, 49, 3)
    flush(store, 31, 35, 3)
    half = flush(store, 50, 59, 3)
    store.delete([half.path])
    store.put("blocks/t/what/meta.json", b"{}")
    found = check(store)
    assert {one.severity for one in found} == {"warning"}
    assert len(found) == 4
    assert repaired(bucket) == []


def test_a_cut_that_was_deleted(bucket: Path) -> None:
    """Between others: its blocks are found, and come into the index."""
    before = spans(open_store(bucket))
    store = open_store(bucket)
    fifth = flush(store, 40, 49, 3)
    Cuts(store, "e").write(Cut(0, 40, 49, (fifth.key,), (fifth,)))
    want = sorted([*before, (fifth.block_id, 3)])
    assert spans(store) == want
    store.delete([cut_path(PLACE, 30)])
    assert [one for one in check(store) if one.severity == "error"]
    repaired(bucket)
    assert spans(store) == want
    assert polled(store).snapshot("t").problems == {}


def test_the_last_cut_that_cannot_be_read(bucket: Path) -> None:
    """Its blocks are found, come into the indexes, and the partition goes on behind them."""
    before = [spans(open_store(bucket), tenant) for tenant in "tu"]
    (bucket / cut_path(PLACE, 30)).write_bytes(b"?")
    store = open_store(bucket)
    damaged = BlockList(store, "e", ByteCache("check", 1 << 22))
    damaged.poll([0])
    assert damaged.unknown_end(0)
    assert [one for one in check(store) if one.severity == "error"]
    said = repaired(bucket)
    assert said
    assert [spans(store, tenant) for tenant in "tu"] == before
    again = BlockList(store, "e", ByteCache("check", 1 << 22))
    again.poll([0])
    assert (again.unknown_end(0), again.flushed_offset(0)) == ("", 40)


def test_a_block_that_is_replaced_meanwhile(bucket: Path) -> None:
    """By a compactor that deletes it at once: it is no error."""
    store = open_store(bucket)
    blocks = polled(store)
    (meta,) = [meta for meta in blocks.snapshot("t").blocks if meta.first_offset == 20]
    made = flush(store, 20, 29, 5, 5, tenant="t2").model_copy(update={"tenant": "t", "replaces": [meta.block_id]})
    for path in list(store.paths("blocks/t2")):
        store.put(path.replace("/t2/", "/t/"), made.encode() if path.endswith("meta.json") else store.get(path))
        store.delete([path])
    changed = IndexStore(store).commit("t", lambda index: replace_blocks(index, [made], [meta.block_id], 1.0))
    assert changed is not None
    store.delete(list(store.paths(meta.folder)))
    assert [one for one in check_bucket(blocks) if one.severity == "error"] == []
