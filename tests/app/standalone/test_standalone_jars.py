"""Kafka's jars: the lock, the checksums, the cache. No network: `fetch` is a stand-in."""

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.standalone import jars, maven
from app.standalone.errors import StandaloneError
from app.standalone.jars import Jar
from app.standalone.progress import DownloadProgress

SERVED = {f"part{n}-1.0.jar": b"bytes of part %d " % n * (n + 1) * 100 for n in range(12)}
SHA = "0" * 64


def jar(filename: str, content: bytes) -> Jar:
    name = filename.removesuffix("-1.0.jar")
    return Jar("org.example", name, "1.0", "", hashlib.sha256(content).hexdigest(), len(content))


JARS = [jar(name, content) for name, content in SERVED.items()]


class Repository:
    """Serves SERVED; `spoil` answers (attempt) → what to change for a file."""

    def __init__(self, spoil: Callable[[str, int], bytes | Exception | None] = lambda *_: None) -> None:
        self.spoil = spoil
        self.asked: list[str] = []
        self.lock = threading.Lock()

    def fetch(self, jar: Jar, directory: Path, on_bytes: Callable[[int], None]) -> Path:
        with self.lock:
            self.asked.append(jar.filename)
            attempt = self.asked.count(jar.filename)
        content = self.spoil(jar.filename, attempt)
        if isinstance(content, Exception):
            on_bytes(3)
            raise content
        content = SERVED[jar.filename] if content is None else content
        path = directory / "below" / jar.filename
        path.parent.mkdir()
        path.write_bytes(content)
        on_bytes(len(content))
        return path


def test_the_committed_lock_is_whole():
    """What `stretto run` fetches: Kafka and its clients in one version, each file with checksum and size."""
    locked = jars.locked()
    names = {jar.coordinate for jar in locked}
    assert set(jars.COORDINATES) <= names
    assert jars.kafka_version(locked) == "4.3.1"
    assert {jar.version for jar in locked if jar.group == "org.apache.kafka"} == {"4.3.1"}
    assert 40e6 < sum(jar.size_bytes for jar in locked) < 60e6
    assert sorted(names) == [jar.coordinate for jar in locked], "sorted, so that a diff shows what changed"


def test_a_lock_that_is_written_reads_the_same(tmp_path):
    """With and without a classifier."""
    wanted = (*JARS, Jar("g", "a", "1", "linux-x86_64", SHA, 7))
    jars.write_lock(wanted, tmp_path / "x.lock")
    assert jars.parse_lock((tmp_path / "x.lock").read_text()) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("# nothing\n", "lists no jars", id="empty"),
        pytest.param(f"# head\na:b:1 sha256:{SHA[:-1]} 5", "x.lock:2: expected", id="short checksum"),
        pytest.param(f"a:b sha256:{SHA} 5", "x.lock:1: expected", id="no version"),
        pytest.param(f"a:b:1 sha256:{SHA}", "x.lock:1: expected", id="no size"),
        pytest.param(f"a:../../b:1 sha256:{SHA} 5", "x.lock:1: expected", id="a path in a name"),
        pytest.param(f"a:b:1 sha256:{SHA} 5\nc:b:1 sha256:{SHA} 5", "x.lock:2: b-1.jar is listed twice", id="twice"),
    ],
)
def test_a_wrong_lock_is_refused(text, message):
    """The text names file, line and what to do."""
    with pytest.raises(StandaloneError, match=message):
        jars.parse_lock(text, "x.lock")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        pytest.param({"XDG_CACHE_HOME": "/var/x"}, "/var/x/stretto/kafka-4.3.1", id="XDG"),
        pytest.param({}, "~/.cache/stretto/kafka-4.3.1", id="home"),
        pytest.param({"XDG_CACHE_HOME": "relative"}, "~/.cache/stretto/kafka-4.3.1", id="relative is as if unset"),
    ],
)
def test_cache_dir(env, expected):
    """The user's cache, one folder for each Kafka version."""
    assert jars.cache_dir(env, "4.3.1") == Path(expected).expanduser()


def test_an_empty_cache_is_filled_once(tmp_path):
    """All files come, verified; the second call asks for none; nothing else is left behind."""
    repository = Repository()
    said: list[str] = []
    paths = jars.ensure(JARS, tmp_path, said.append, repository.fetch)
    assert [path.read_bytes() for path in paths] == list(SERVED.values())
    assert jars.ensure(JARS, tmp_path, said.append, repository.fetch) == paths
    assert sorted(repository.asked) == sorted(SERVED)
    assert {path.name for path in tmp_path.iterdir()} == {*SERVED, ".lock"}
    assert "fetching 12 files" in said[0]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda content: b"X" + content[1:], id="another byte, same size"),
        pytest.param(lambda content: b"", id="empty"),
    ],
)
def test_a_damaged_file_is_fetched_again(tmp_path, damage):
    """Only that one, and it is said."""
    repository = Repository()
    paths = jars.ensure(JARS, tmp_path, lambda _: None, repository.fetch)
    repository.asked.clear()
    paths[3].write_bytes(damage(paths[3].read_bytes()))
    said: list[str] = []
    jars.ensure(JARS, tmp_path, said.append, repository.fetch)
    assert repository.asked == [paths[3].name]
    assert paths[3].read_bytes() == SERVED[paths[3].name]
    assert f"{paths[3]} is damaged" in said[0]


def test_what_an_interrupted_fetch_left_is_removed(tmp_path):
    """A half-filled staging folder is no cache."""
    (tmp_path / ".fetch-old").mkdir()
    (tmp_path / ".fetch-old" / JARS[0].filename).write_bytes(b"half")
    jars.ensure(JARS, tmp_path, lambda _: None, Repository().fetch)
    assert not (tmp_path / ".fetch-old").exists()


def test_a_passing_failure_is_tried_again(tmp_path):
    """A broken connection, then a cut file, then the right one."""
    answers = {1: OSError("connection reset"), 2: b"half"}
    repository = Repository(lambda name, attempt: answers.get(attempt) if name == "part5-1.0.jar" else None)
    jars.ensure(JARS, tmp_path, lambda _: None, repository.fetch)
    assert repository.asked.count("part5-1.0.jar") == 3


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        pytest.param(b"evil bytes", "is not what kafka-jars.lock pins: 10 bytes instead of", id="other bytes"),
        pytest.param(RuntimeError("not found in remote"), "RuntimeError: not found in remote", id="not there"),
        pytest.param(OSError("no route to host"), "OSError: no route to host", id="no network"),
    ],
)
def test_a_lasting_failure_ends_it(tmp_path, spoiled, message):
    """The text names the jar, the fault and the way out; the wrong file is never in the cache."""
    repository = Repository(lambda name, _: spoiled if name == "part7-1.0.jar" else None)
    with pytest.raises(StandaloneError, match=message) as raised:
        jars.ensure(JARS, tmp_path, lambda _: None, repository.fetch)
    assert "org.example:part7:1.0" in str(raised.value)
    assert "KAFKA_URL" in str(raised.value)
    assert not (tmp_path / "part7-1.0.jar").exists()


def test_a_cache_that_cannot_be_written(tmp_path):
    """The text names the folder and the variable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StandaloneError, match="XDG_CACHE_HOME"):
        jars.ensure(JARS, tmp_path / "file" / "cache", lambda _: None, Repository().fetch)


def test_a_colon_would_split_the_class_path(tmp_path):
    """Refused at once, not as a class that Java does not find."""
    with pytest.raises(StandaloneError, match="class path"):
        jars.ensure(JARS, tmp_path / "a:b", lambda _: None, Repository().fetch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere():
    """The last state is always shown."""
    said: list[str] = []
    terminal = Terminal()
    for stream in (terminal, io.StringIO()):
        with DownloadProgress("Kafka 4.3.1", 2, 2_000_000, said.append, stream) as progress:
            progress.add(1_000_000)
            progress.file_done()
    assert terminal.getvalue().endswith("[###############...............] Kafka 4.3.1: 1 of 2 files, 1.0 of 2.0 MB\n")
    assert said == ["Kafka 4.3.1: fetching 2 files, 2 MB", "Kafka 4.3.1: 1 of 2 files, 1.0 of 2.0 MB"]


def test_jgo_knows_where_to_look(tmp_path):
    """What we use of jgo is there: a file that its local repository has needs no network."""
    wanted = JARS[0]
    path = tmp_path / "org" / "example" / wanted.artifact / "1.0" / wanted.filename
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert maven.fetch(wanted, tmp_path, lambda _: None) == path
