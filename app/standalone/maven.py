"""Downloads single jars, and resolves their dependencies, from the Maven repository that jgo uses. jgo is pure
Python.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.standalone.errors import StandaloneError

_TIMEOUT_S: Final = 30  # per connection and per read, not for a whole jar


@dataclass(frozen=True, slots=True)
class Jar:
    group: str
    artifact: str
    version: str
    classifier: str  # "" for the main jar
    sha256: str  # 64 hexadecimal digits
    size_bytes: int

    @property
    def coordinate(self) -> str:
        parts = (self.group, self.artifact, self.version, self.classifier)
        return ":".join(part for part in parts if part)

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}{f'-{self.classifier}' if self.classifier else ''}.jar"


def fetch(jar: Jar, directory: Path, on_bytes: Callable[[int], None]) -> Path:
    """Downloads one jar below `directory` (empty); `on_bytes` gets the size of each piece.

    Raises: RuntimeError if no repository has it; requests' exceptions, which are OSErrors
    """

    @contextmanager
    def progress(_filename: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        yield on_bytes

    component = _context(directory, progress).project(jar.group, jar.artifact).at_version(jar.version)
    path: Path = component.artifact(jar.classifier).resolve()
    return path


def resolve(coordinates: Sequence[str], repo_cache: Path) -> list[Jar]:
    """All jars that `coordinates` need to run, sorted by name, with the checksums that the repository serves."""
    context = _context(repo_cache)
    asked, needed = context.resolver.resolve([context.create_dependency(text) for text in coordinates])
    jars = []
    for found in [*asked, *(d for d in needed if d.scope in ("compile", "runtime"))]:
        path: Path = found.artifact.resolve()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        names = (found.groupId, found.artifactId, found.version, found.classifier)
        jars.append(Jar(*names, sha256=sha256, size_bytes=path.stat().st_size))
    return sorted(jars, key=lambda jar: jar.coordinate)


def _context(repo_cache: Path, progress: Any = None) -> Any:
    # Imported here: a run whose cache is whole needs no network client.
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as err:
        raise StandaloneError(
            f"{err}: fetching Kafka needs the extra `standalone` (pip install '.[standalone]'); "
            "or set KAFKA_URL to use a Kafka that runs already"
        ) from err
    resolver = PythonResolver(progress_callback=progress)
    context = MavenContext(resolver=resolver, repo_cache=repo_cache, timeout=_TIMEOUT_S)
    # A company's mirror from the user's jgo settings; what it serves must still have the pinned checksums.
    context.remote_repos.update(GlobalSettings.load().repositories)
    return context
