"""What every backend does: the same for a folder, S3, GCS and Azure."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest

from tables.errors import DamagedError
from tables.storage.object_store import ObjectStore
from tables.storage.probe import probe
from tests.helpers.storage.storage_servers import StorageServer


def test_put_replaces(store: ObjectStore) -> None:
    store.put("a/one", b"1")
    store.put("a/one", pa.py_buffer(b"another"))
    assert store.get("a/one") == b"another"


def test_create_only_creates(store: ObjectStore) -> None:
    """With other content it refuses; the same content is what an earlier attempt of the same call wrote."""
    assert store.create("a/one", b"1")
    assert not store.create("a/one", b"2")
    assert not store.create("a/one", b"12")
    assert store.create("a/one", b"1")
    assert store.get("a/one") == b"1"


def test_one_of_many_creates(store: ObjectStore) -> None:
    """However many try at the same moment."""
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: store.create("a/one", b"%d" % number), range(8)))
    (winner,) = [number for number, was in enumerate(created) if was]
    assert store.get("a/one") == b"%d" % winner


def test_missing_objects(store: ObjectStore) -> None:
    assert store.get("a/none") is None
    assert store.stamp("a/none") is None
    assert list(store.paths("a")) == []
    assert store.folders("a") == []
    with pytest.raises(DamagedError, match="a/none is missing"):
        store.get_ranges("a/none", [(0, 1)])


def test_empty_objects(store: ObjectStore) -> None:
    store.put("a/empty", b"")
    stamp = store.stamp("a/empty")
    assert stamp is not None
    assert (store.get("a/empty"), stamp.size_bytes) == (b"", 0)


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(0, 1)], id="the first byte"),
        pytest.param([(0, 10), (5, 10), (100, 1)], id="overlapping"),
        pytest.param([(2_999_990, 10), (0, 4)], id="far apart, in no order"),
        pytest.param([(0, 3_000_000)], id="all"),
    ],
)
def test_ranges(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    data = os.urandom(3_000_000)
    store.put("a/large", data)
    parts = store.get_ranges("a/large", ranges)
    assert [bytes(part) for part in parts] == [data[start : start + length] for start, length in ranges]


@pytest.mark.parametrize("ranges", [[(5, 10)], [(0, 1), (9, 2)], [(10, 1)], [(1000, 1)], [(0, 1), (5_000_000, 1)]])
def test_short_objects(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    """Each storage has its own answer to a range beyond the end."""
    store.put("a/short", b"0123456789")
    with pytest.raises(DamagedError, match="a/short is shorter than what was written"):
        store.get_ranges("a/short", ranges)


def test_objects_in_parts(store: ObjectStore) -> None:
    """An object above 5 MiB."""
    data = os.urandom(11 << 20)
    store.put("a/large", data)
    stamp = store.stamp("a/large")
    assert stamp is not None
    assert stamp.size_bytes == len(data)
    assert store.get("a/large") == data


def test_a_stamp_changes_with_the_object(store: ObjectStore) -> None:
    store.put("a/one", b"1")
    before = store.stamp("a/one")
    assert dict(store.objects("a")) == {"a/one": before}
    store.put("a/one", b"23")
    after = store.stamp("a/one")
    assert before is not None
    assert after is not None
    assert before != after
    assert after.size_bytes == 2
    assert abs(after.modified_s - before.modified_s) < 60


def test_lists(store: ObjectStore) -> None:
    """In the order of paths, of whole folders, from a path on; folders alone."""
    for path in ("a/b/2", "a/b/10", "a/c", "ab/1", "a/d/e/f", "a b/1"):
        store.put(path, b"1")
    assert list(store.paths("a")) == ["a/b/10", "a/b/2", "a/c", "a/d/e/f"]
    assert list(store.paths("a/b")) == ["a/b/10", "a/b/2"]
    assert list(store.paths("a/b/1")) == []
    assert list(store.paths("")) == ["a b/1", "a/b/10", "a/b/2", "a/c", "a/d/e/f", "ab/1"]
    assert list(store.paths("a", after="a/b/10")) == ["a/b/2", "a/c", "a/d/e/f"]
    assert list(store.paths("a", after="a/b/11")) == ["a/b/2", "a/c", "a/d/e/f"]
    assert list(store.paths("a", after="a/d/e/f")) == []
    assert list(store.paths("a/b", after="a")) == ["a/b/10", "a/b/2"]
    assert store.folders("a") == ["a/b", "a/d"]
    assert store.folders("") == ["a", "a b", "ab"]
    assert store.folders("a/b") == []


def test_deletes(store: ObjectStore) -> None:
    """Missing ones do not keep it from others."""
    for path in ("a/1", "a/2", "a/3"):
        store.put(path, b"1")
    store.delete(["a/0", "a/1", "a/1", "a/none", "a/3"])
    assert list(store.paths("a")) == ["a/2"]
    store.delete(["a/none"])
    store.delete([])
    store.delete(["a/2"])
    assert list(store.paths("")) == []


@pytest.mark.parametrize(
    "tenant", ["a", "Ünïcödé", "漢字", "with space", "100%", "%41", "a+b", "#?&=", "!-_.*'()", "a:b@c~,;$[]"]
)
def test_names_of_tenants(store: ObjectStore, tenant: str) -> None:
    """Names come back as they were, whatever a URL makes of their characters."""
    path = f"blocks/{tenant}/id/meta.json"
    store.put(path, b"1")
    assert store.get(path) == b"1"
    assert list(store.paths("blocks")) == [path]
    assert list(store.paths(f"blocks/{tenant}")) == [path]
    assert store.folders("blocks") == [f"blocks/{tenant}"]
    store.delete([path])
    assert list(store.paths("")) == []


def test_more_than_a_page(store: ObjectStore) -> None:
    """1,030 objects: a list has 1,000, and so has a delete."""
    names = [f"a/{number:05}" for number in range(1030)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"1"), names))
    assert list(store.paths("a")) == names
    assert list(store.paths("a", after="a/00009")) == names[10:]
    store.delete(names[:1010])
    assert list(store.paths("a")) == names[1010:]
    store.delete(names)
    assert list(store.paths("a")) == []


def test_prefixes_are_apart(server: StorageServer, prefix: str) -> None:
    """Two stores of one bucket do not see each other."""
    store, other = (ObjectStore(server.config(f"{prefix}/{name}")) for name in ("one", "other"))
    store.put("a", b"1")
    assert (other.get("a"), list(other.paths("")), other.folders("")) == (None, [], [])
    above = ObjectStore(server.config(prefix))
    assert list(above.paths("")) == ["one/a"]


def test_the_probe_leaves_nothing(store: ObjectStore) -> None:
    probe(store)
    assert list(store.paths("")) == []


def test_hedged_reads_read_the_same(server: StorageServer, prefix: str) -> None:
    config = server.config(prefix)
    store = ObjectStore(replace(config, hedging=replace(config.hedging, at_s=0.0001, up_to=3)))
    store.put("a/one", b"0123456789")
    assert store.get("a/one") == b"0123456789"
    assert [bytes(part) for part in store.get_ranges("a/one", [(0, 2), (8, 2)])] == [b"01", b"89"]
    assert store.get("a/none") is None
    assert store.stamp("a/none") is None
    with pytest.raises(DamagedError, match="is shorter"):
        store.get_ranges("a/one", [(8, 3)])


def test_replace_what_has_not_changed(store: ObjectStore) -> None:
    """Of two who know the same version one wins; an object that is gone is not replaced."""
    store.put("a/one", b"1")
    stamp = store.stamp("a/one")
    assert stamp is not None
    assert store.replace("a/one", b"second", stamp.e_tag)
    assert not store.replace("a/one", b"other", stamp.e_tag)
    assert store.get("a/one") == b"second"
    store.delete(["a/one"])
    assert not store.replace("a/one", b"third", stamp.e_tag)
    assert store.get("a/one") is None


def test_one_of_many_replaces(store: ObjectStore) -> None:
    """However many try at the same moment."""
    store.put("a/one", b"x")
    stamp = store.stamp("a/one")
    assert stamp is not None
    with ThreadPoolExecutor(8) as pool:
        replaced = list(pool.map(lambda number: store.replace("a/one", b"%d" % number, stamp.e_tag), range(8)))
    (winner,) = [number for number, was in enumerate(replaced) if was]
    assert store.get("a/one") == b"%d" % winner
