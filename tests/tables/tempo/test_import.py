"""Blocks of Tempo become visible blocks of ours: all of them, once, whatever happens."""

import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.blocks.meta import BlockMeta, merged_block_id
from tables.catalog.changes import forget_removed, replace_blocks
from tables.catalog.index_store import IndexStore
from tables.catalog.tenant_index import TenantIndex
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.tempo import convert, file
from tables.tempo.bucket import tenant_blocks
from tables.tempo.ledger import Ledger
from tables.tempo.limits import EVERYTHING, TimeLimits
from tables.tempo.plan import ANY_FACTOR
from tables.units import NS_PER_S
from tests.helpers.examples import examples
from tests.helpers.tempo.imported import START_S, TENANT, local, request, run, span_count, trace_ids, traces, visible
from tests.helpers.tempo.tempo_blocks import TempoBlock
from tests.helpers.tempo.tempo_spans import DEDICATED, held, spans
from tests.strategies import REQUESTS

VERSIONS = ("vParquet4", "vParquet5")


@settings(max_examples=examples(15))
@given(st.lists(REQUESTS, min_size=1, max_size=3), st.sampled_from(VERSIONS))
def test_traces_of_several_blocks_are_found_whole(requests: list[ExportTraceServiceRequest], version: str) -> None:
    with TemporaryDirectory() as name:
        bucket, target = Path(name, "tempo"), local(Path(name, "ours"))
        for one in requests:
            TempoBlock(version, dedicated=DEDICATED).write(bucket, [one])
        _, ended = run(bucket, target)
        ids = trace_ids(requests)
        assert [one.error for one in ended] == [None] * len(requests)
        assert sum(one.done.spans_read for one in ended) == ids.total()
        assert sum(one.done.spans for one in ended) == span_count(target)
        assert all(one.done.repeated >= 0 for one in ended)
        wanted = spans([group for one in requests for group in held(one, version)])
        # A trace by id leaves out spans that are equal in all.
        assert spans(traces(target, ids)).keys() == wanted.keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_block_becomes_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(convert, "_FILE_SPANS", 50)
    monkeypatch.setattr(file, "_BATCH_SPANS", 8)
    block = TempoBlock(version, dedicated=[{"n": "http.route"}, {"n": "number", "t": "int"}], row_group_traces=40)
    wanted = request(200, traces=97)
    block.write(tmp_path / "tempo", [wanted])
    run(tmp_path / "tempo", target := local(tmp_path / "ours"))
    (meta,) = visible(target)
    assert len(meta.files) >= 4
    assert meta.cluster_id == "tempo-import"
    assert meta.received_max_ms // 1000 == START_S + 199
    bounds = [(one.trace_id_min, one.trace_id_max) for one in meta.files]
    assert bounds == sorted(bounds)
    assert all(ours[1] < after[0] for ours, after in pairwise(bounds))
    assert spans(traces(target, trace_ids([wanted]))) == spans(held(wanted, ""))


def test_what_is_imported_is_not_imported_again(tmp_path: Path) -> None:
    for number in range(3):
        TempoBlock().write(tmp_path / "tempo", [request(10, first=10 * number)])
    target = local(tmp_path / "ours")
    run(tmp_path / "tempo", target)
    before = visible(target)
    TempoBlock().write(tmp_path / "tempo", [request(10, first=30)])
    plan, ended = run(tmp_path / "tempo", target)
    assert (plan.done, len(ended)) == (3, 1)
    assert visible(target)[:3] == before
    assert span_count(target) == 40
    # Another tenant has its own.
    run(tmp_path / "tempo", target, tenant="other")
    assert span_count(target, "other") == 40


def test_several_blocks_at_the_same_time(tmp_path: Path) -> None:
    for number in range(6):
        TempoBlock(VERSIONS[number % 2]).write(tmp_path / "tempo", [request(10, first=10 * number)])
    _, ended = run(tmp_path / "tempo", target := local(tmp_path / "ours"), jobs=3)
    assert [(one.done.spans, one.added) for one in ended] == [(10, True)] * 6
    assert span_count(target) == 60


class Killed(BaseException):
    """As a kill -9: nothing runs afterwards."""


class Mortal(ObjectStore):
    """Dies before or after its n-th write."""

    def __init__(self, folder: Path, writes: int, *, after: bool) -> None:
        super().__init__(StorageConfig("local", str(folder)))
        self.left, self.after = writes, after

    def put(self, path: str, data: Any) -> None:
        self._write(lambda: super(Mortal, self).put(path, data))

    def create(self, path: str, data: Any) -> bool:
        return bool(self._write(lambda: super(Mortal, self).create(path, data)))

    def _write(self, write: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        result = write()
        if self.left == 0:
            raise Killed
        return result


def merge_and_forget(target: ObjectStore) -> None:
    """As compaction, until nothing in the index says what was there; the merged block has the same files."""
    index = IndexStore(target)
    found = visible(target)
    if not found or any(meta.level for meta in found):
        return
    merged = _moved(target, found)
    index.commit(TENANT, lambda now: replace_blocks(now, [merged], [meta.block_id for meta in found], 1.0))
    index.commit(TENANT, lambda now: forget_removed(now, [meta.block_id for meta in found]))


def _moved(target: ObjectStore, metas: list[BlockMeta]) -> BlockMeta:
    block_id = merged_block_id(meta.block_id for meta in metas)
    files = []
    for meta in metas:
        for one in meta.files:
            name = f"data-{len(files):04d}.parquet"
            target.put(f"blocks/{TENANT}/{block_id}/{name}", target.get(f"{meta.folder}/{one.name}"))
            files.append(one.model_copy(update={"name": name}))
    spans_all = sum(one.spans for one in files)
    return metas[0].model_copy(update={"block_id": block_id, "level": 1, "files": files, "spans": spans_all})


@pytest.mark.parametrize("compaction", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write(tmp_path: Path, compaction: bool, after: bool) -> None:
    blocks = [
        TempoBlock(version).write(tmp_path / "tempo", [request(6, first=6 * n)]) for n, version in enumerate(VERSIONS)
    ]
    assert len(blocks) == 2
    deaths = 0
    while True:
        folder = tmp_path / f"ours{deaths}"
        try:
            run(tmp_path / "tempo", Mortal(folder, deaths + 1, after=after))
        except Killed:
            deaths += 1
        else:
            break
        target = local(folder)
        if compaction:
            merge_and_forget(target)
        _, ended = run(tmp_path / "tempo", target)
        assert not any(one.error for one in ended)
        assert span_count(target) == 12, f"killed at write {deaths}"
        assert run(tmp_path / "tempo", target)[1] == []
        known = Ledger(target, TENANT).known()
        assert (len(known.entries), len(known.marked)) == (2, 0)
        assert (IndexStore(target).latest(TENANT) or TenantIndex(TENANT)).covered == {}
    assert deaths >= 8


def test_two_imports_at_once_add_a_block_once(tmp_path: Path) -> None:
    for number in range(2):
        TempoBlock().write(tmp_path / "tempo", [request(6, first=6 * number)])
    source, target = local(tmp_path / "tempo"), local(tmp_path / "ours")
    first, second = tenant_blocks(source, TENANT).blocks
    ledger = Ledger(target, TENANT)
    done = convert.convert(source, target, first, TENANT, 100)
    assert ledger.add(first, done.meta, EVERYTHING)
    assert not ledger.add(first, done.meta, EVERYTHING)
    # The other one compacts meanwhile, and goes on, which removes the first one's marker.
    merge_and_forget(target)
    other = convert.convert(source, target, second, TENANT, 100)
    assert ledger.add(second, other.meta, EVERYTHING)
    assert not ledger.add(first, done.meta, EVERYTHING)
    assert span_count(target) == 12
    index = IndexStore(target).latest(TENANT)
    assert index is not None
    assert len(index.covered) == 1


def _set(folder: Path, **values: Any) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | values))


def _cut(folder: Path) -> None:
    path = folder / "data.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    _set(folder, size=path.stat().st_size)


def _wrong_bytes(folder: Path) -> None:
    path = folder / "data.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: _set(folder, totalObjects=4), "has 3 traces; its meta.json says 4"),
        (lambda folder: _set(folder, size=17), "bytes; its meta.json says 17"),
        (lambda folder: (folder / "data.parquet").unlink(), "is missing; its meta.json says"),
        (_cut, "cannot be opened"),
        (_wrong_bytes, "cannot be read"),
        (lambda folder: _set(folder, dedicatedColumns=[{"n": "x"}]), "has no column rs.ss.Spans.DedicatedAttributes"),
    ],
)
def test_a_block_that_is_not_what_it_says_is_named_and_left_out(tmp_path: Path, harm: Any, said: str) -> None:
    bad = TempoBlock().write(tmp_path / "tempo", [request(6)])
    TempoBlock().write(tmp_path / "tempo", [request(6, first=6, start_s=START_S + 100)])
    harm(bad)
    target = local(tmp_path / "ours")
    _, ended = run(tmp_path / "tempo", target)
    errors = [str(one.error) for one in ended if one.error]
    assert len(errors) == 1
    assert bad.name in errors[0]
    assert said in errors[0]
    assert span_count(target) == 6
    assert len(run(tmp_path / "tempo", target)[1]) == 1  # it is tried again


@pytest.mark.parametrize("version", VERSIONS)
def test_a_trace_with_other_spans_than_its_statistics_say(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = TempoBlock._stats

    def one_more(self: TempoBlock, services: dict[str, list[int]]) -> list[Any]:
        return stats(self, {name: [count + 1, errors] for name, (count, errors) in services.items()})

    monkeypatch.setattr(TempoBlock, "_stats", one_more)
    bad = TempoBlock(version).write(tmp_path / "tempo", [request(6)])
    _, (ended,) = run(tmp_path / "tempo", local(tmp_path / "ours"))
    assert f"{bad.name} has trace {1:032x} with other spans than it says" in str(ended.error)


def test_blocks_without_statistics_are_imported(tmp_path: Path) -> None:
    TempoBlock(stats=False).write(tmp_path / "tempo", [request(6)])
    run(tmp_path / "tempo", target := local(tmp_path / "ours"))
    assert span_count(target) == 6


def test_compacted_and_unfinished_blocks_do_not_count(tmp_path: Path) -> None:
    compacted, unfinished, _ = (TempoBlock().write(tmp_path / "tempo", [request(6, first=6 * n)]) for n in range(3))
    (compacted / "meta.json").rename(compacted / "meta.compacted.json")
    (unfinished / "meta.json").unlink()
    found = tenant_blocks(local(tmp_path / "tempo"), TENANT)
    assert found.compacted == {compacted.name}
    run(tmp_path / "tempo", target := local(tmp_path / "ours"))
    assert span_count(target) == 6


def test_the_result_of_compacting_imported_blocks_is_left_out(tmp_path: Path) -> None:
    before = [TempoBlock().write(tmp_path / "tempo", [request(6, first=6 * n)]) for n in range(2)]
    target = local(tmp_path / "ours")
    run(tmp_path / "tempo", target)
    for folder in before:
        (folder / "meta.json").rename(folder / "meta.compacted.json")
    result = TempoBlock(compaction_level=1).write(tmp_path / "tempo", [request(12)])
    TempoBlock(compaction_level=1).write(tmp_path / "tempo", [request(6, first=12, start_s=START_S + 1000)])
    plan, _ = run(tmp_path / "tempo", target)
    assert [result.name in problem for problem in plan.problems] == [True]
    assert span_count(target) == 18
    assert run(tmp_path / "tempo", target, allow_compacted=True)[0].problems == []
    assert span_count(target) == 30


def test_blocks_of_ingesters_and_of_the_generator_are_not_mixed_unasked(tmp_path: Path) -> None:
    for factor in (0, 0, 1):
        TempoBlock(replication_factor=factor).write(tmp_path / "tempo", [request(6)])
    plan, ended = run(tmp_path / "tempo", local(tmp_path / "ours"))
    assert ended == []
    assert "2 blocks of ingesters" in plan.problems[0]
    for factor, count in ((3, 12), (1, 6), (ANY_FACTOR, 18)):
        run(tmp_path / "tempo", target := local(tmp_path / f"ours{factor}"), factor=factor)
        assert span_count(target) == count


def test_other_formats_are_a_problem(tmp_path: Path) -> None:
    folder = TempoBlock().write(tmp_path / "tempo", [request(6)])
    _set(folder, format="vParquet3")
    plan, ended = run(tmp_path / "tempo", local(tmp_path / "ours"))
    assert ended == []
    assert plan.problems == ["blocks with the format vParquet3: 1; this build reads only vParquet4 and vParquet5"]
    (folder / "meta.json").write_text("{}")
    assert "is not a meta.json of Tempo: format" in run(tmp_path / "tempo", local(tmp_path / "ours"))[0].problems[0]


def test_time_limits(tmp_path: Path) -> None:
    for number in range(4):  # from second 0, 100, 200, 300 on, 10 spans each
        TempoBlock().write(tmp_path / "tempo", [request(10, first=10 * number, start_s=START_S + 100 * number)])
    limits = TimeLimits((START_S + 105) * NS_PER_S, (START_S + 303) * NS_PER_S)
    target = local(tmp_path / "ours")
    plan, ended = run(tmp_path / "tempo", target, limits)
    assert plan.outside == 1
    assert [(one.done.spans_read, one.done.spans) for one in ended] == [(10, 5), (10, 10), (10, 3)]
    assert span_count(target) == 18
    assert run(tmp_path / "tempo", target, limits)[0].problems == []
    # What was left out does not come later: it is said.
    plan, _ = run(tmp_path / "tempo", target)
    assert len(plan.problems) == 2
    assert "in part" in plan.problems[0]
    assert span_count(target) == 28


def test_a_block_without_a_span_within_the_limits_is_done(tmp_path: Path) -> None:
    TempoBlock().write(tmp_path / "tempo", [request(2)])
    limits = TimeLimits(START_S * NS_PER_S + NS_PER_S + 1)
    target = local(tmp_path / "ours")
    assert [one.done.spans for one in run(tmp_path / "tempo", target, limits)[1]] == [0]
    assert visible(target) == []
    assert run(tmp_path / "tempo", target, limits)[1] == []


def test_storage_that_is_away_ends_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TempoBlock().write(tmp_path / "tempo", [request(6)])

    def away(*_: Any) -> None:
        raise StorageError("away")

    target = local(tmp_path / "ours")
    monkeypatch.setattr(target, "put", away)
    with pytest.raises(StorageError, match="away"):
        run(tmp_path / "tempo", target)
