"""Kafka's jars: pinned by name and SHA-256, fetched once into the user's cache, verified before every use.

`python -m app.standalone.jars` fetches them; with `--lock` it resolves COORDINATES anew and writes the lock.
"""

import fcntl
import hashlib
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.standalone import maven
from app.standalone.errors import StandaloneError
from app.standalone.maven import Jar
from app.standalone.progress import DownloadProgress

LOCK: Final = Path(__file__).with_name("kafka-jars.lock")

# kafka-clients is named although kafka_2.13 depends on it: jgo would pick an older one.
COORDINATES: Final = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.kafka:kafka-clients:4.3.1",
    "org.slf4j:slf4j-simple:1.7.36",
)
_KAFKA: Final = ("org.apache.kafka", "kafka_2.13")

_DOWNLOADS_MAX: Final = 8  # more gain nothing: a few large jars decide how long it takes
_ATTEMPTS_MAX: Final = 3

_NAME = r"[A-Za-z0-9_.-]+"
_LINE: Final = re.compile(
    rf"(?P<group>{_NAME}):(?P<artifact>{_NAME}):(?P<version>{_NAME})(:(?P<classifier>{_NAME}))?"
    r" sha256:(?P<sha256>[0-9a-f]{64}) (?P<size>[0-9]+)"
)


# (jar, an empty folder, called with the bytes of each piece) → the file, not yet verified
Fetch = Callable[[Jar, Path, Callable[[int], None]], Path]


def parse_lock(text: str, name: str = LOCK.name) -> tuple[Jar, ...]:
    """Lines `group:artifact:version[:classifier] sha256:<hex> <bytes>`; `#` starts a comment line.

    Raises: StandaloneError naming the line; also for a jar that is listed twice, and for an empty list
    """
    jars: dict[str, Jar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line.strip())):
            raise StandaloneError(
                f"{name}:{number}: expected `group:artifact:version[:classifier] sha256:<hex> <bytes>`, "
                f"found {line!r}; restore the file, or make it anew with `make lock`"
            )
        jar = Jar(
            group=found["group"],
            artifact=found["artifact"],
            version=found["version"],
            classifier=found["classifier"] or "",
            sha256=found["sha256"],
            size_bytes=int(found["size"]),
        )
        if jar.filename in jars:
            raise StandaloneError(f"{name}:{number}: {jar.filename} is listed twice")
        jars[jar.filename] = jar
    if not jars:
        raise StandaloneError(f"{name} lists no jars; make it anew with `make lock`")
    return tuple(jars.values())


def locked() -> tuple[Jar, ...]:
    """The jars of the committed lock."""
    return parse_lock(LOCK.read_text(encoding="utf-8"))


def kafka_version(jars: Iterable[Jar]) -> str:
    for jar in jars:
        if (jar.group, jar.artifact) == _KAFKA:
            return jar.version
    raise StandaloneError(f"{LOCK.name} lists no {':'.join(_KAFKA)}; make it anew with `make lock`")


def cache_dir(env: Mapping[str, str], version: str) -> Path:
    """Where the jars of one Kafka version are kept, shared by all checkouts of a user."""
    # The XDG rule: a relative path is as if unset.
    base = Path(env.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "stretto" / f"kafka-{version}"


def fault(jar: Jar, path: Path) -> str | None:
    """What is wrong with the file, or None if it is the pinned one, byte by byte."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes != jar.size_bytes:
                return f"{size_bytes} bytes instead of {jar.size_bytes}"
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    return None if found == jar.sha256 else f"sha256 {found} instead of {jar.sha256}"


def ensure(jars: Sequence[Jar], directory: Path, say: Callable[[str], None], fetch: Fetch) -> list[Path]:
    """The verified files of `jars` in `directory`, in their order; what is missing or damaged is fetched.

    Raises: StandaloneError if a jar cannot be had, or has other bytes than the lock says
    """
    if os.pathsep in str(directory):
        raise StandaloneError(
            f"the cache folder {directory} has a {os.pathsep!r} in its name, which separates the entries of "
            "a Java class path; set XDG_CACHE_HOME to another folder"
        )
    try:
        with _exclusive(directory, say):
            wanted = []
            for jar in jars:
                trouble = fault(jar, directory / jar.filename)
                if trouble:
                    wanted.append(jar)
                if trouble and trouble != "missing":
                    say(f"{directory / jar.filename} is damaged ({trouble}); fetching it again")
            if wanted:
                _fetch_all(wanted, directory, say, fetch)
    except OSError as err:
        raise StandaloneError(
            f"cannot keep Kafka's jars in {directory}: {err}; set XDG_CACHE_HOME to a writable folder"
        ) from err
    return [directory / jar.filename for jar in jars]


@contextmanager
def _exclusive(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One process at a time fills the cache; what an interrupted one left behind is removed."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that fills {directory}")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in directory.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _fetch_all(jars: Sequence[Jar], directory: Path, say: Callable[[str], None], fetch: Fetch) -> None:
    """Fetch in parallel and move each verified jar into place.

    Daemon threads: Ctrl-C must not wait for a download. Raises the first error.
    """
    todo: queue.SimpleQueue[Jar] = queue.SimpleQueue()
    for jar in sorted(jars, key=lambda jar: -jar.size_bytes):  # the largest first, so that none comes last alone
        todo.put(jar)
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=directory))
    total_bytes = sum(jar.size_bytes for jar in jars)

    def work() -> None:
        while True:
            try:
                jar = todo.get_nowait()
            except queue.Empty:
                return
            try:
                _fetch_one(jar, staging, directory, fetch, progress.add)
            except BaseException as err:  # noqa: BLE001  a thread's end: the error goes to the caller's thread
                finished.put(err)
                return
            finished.put(None)

    with DownloadProgress(f"Kafka {_version_or_jars(jars)}", len(jars), total_bytes, say) as progress:
        for _ in range(min(_DOWNLOADS_MAX, len(jars))):
            threading.Thread(target=work, daemon=True, name="fetch-jars").start()
        try:
            for _ in jars:
                if error := finished.get():
                    raise error
                progress.file_done()
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _version_or_jars(jars: Sequence[Jar]) -> str:
    return next((jar.version for jar in jars if (jar.group, jar.artifact) == _KAFKA), "jars")


def _fetch_one(jar: Jar, staging: Path, directory: Path, fetch: Fetch, on_bytes: Callable[[int], None]) -> None:
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        pieces_bytes: list[int] = []

        def count(n_bytes: int, pieces_bytes: list[int] = pieces_bytes) -> None:
            pieces_bytes.append(n_bytes)
            on_bytes(n_bytes)

        try:
            path = fetch(jar, Path(tempfile.mkdtemp(dir=staging)), count)
            if not (trouble := fault(jar, path)):
                path.replace(directory / jar.filename)
                return
            trouble = f"what came is not what {LOCK.name} pins: {trouble}"
        # requests' errors are OSErrors, and jgo's "not found" is a RuntimeError.
        except (OSError, RuntimeError) as err:
            trouble = f"{type(err).__name__}: {err}"
        on_bytes(-sum(pieces_bytes))  # they do not count: it starts anew
        if attempt == _ATTEMPTS_MAX:
            raise StandaloneError(
                f"cannot fetch {jar.coordinate} ({_ATTEMPTS_MAX} attempts): {trouble}\n"
                "The first run needs the network (HTTPS_PROXY and jgo's own settings file are honoured); "
                "or set KAFKA_URL to use a Kafka that runs already."
            )


def write_lock(jars: Iterable[Jar], path: Path) -> None:
    lines = [
        "# What the Kafka of `stretto run` is made of. Written by `make lock`; do not edit.",
        *(f"{jar.coordinate} sha256:{jar.sha256} {jar.size_bytes}" for jar in jars),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  a command's output

    try:
        if list(arguments) == ["--lock"]:
            with tempfile.TemporaryDirectory() as folder:
                write_lock(maven.resolve(COORDINATES, Path(folder)), LOCK)
            say(f"wrote {LOCK}")
        elif not arguments:
            jars = locked()
            ensure(jars, cache_dir(os.environ, kafka_version(jars)), say, maven.fetch)
        else:
            say("usage: python -m app.standalone.jars [--lock]")
            return 2
    except StandaloneError as err:
        say(f"error: {err}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
