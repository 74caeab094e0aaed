"""Watches files that may change while the process runs: tokens, certificates. It polls, which works on every volume."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import Counter

from app.errors import StrettoError

log = logging.getLogger(__name__)

RELOADS: Final = Counter(
    "stretto_file_reloads_total",
    "Token and certificate files that were read again because they changed. Result failed: the previous content "
    "stays in use.",
    ["file", "result"],
)

_Stamp = tuple[tuple[int, int, int] | None, ...]


class _Watched(NamedTuple):
    name: str
    paths: Sequence[Path]
    load: Callable[[], Any]
    use: Callable[[Any], None]


class FileWatch:
    """Reloads files that have changed. If a new version is invalid, it logs the error and keeps the last good one."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._watched: list[tuple[_Watched, _Stamp]] = []
        self._task: asyncio.Task[None] | None = None

    def add(
        self, name: str, paths: Sequence[Path], load: Callable[[], Any], use: Callable[[Any], None] = lambda _: None
    ) -> None:
        """Watches some files. Call it before the first read of the files.

        name: for metrics and logs; load: reads them on a thread, raises StrettoError; use: gets the result on the event
        loop
        """
        self._watched.append((_Watched(name, paths, load, use), _stamp(paths)))

    def start(self) -> None:
        """Starts to poll the files."""
        if self._watched:
            self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Stops polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            for number, (watched, before) in enumerate(self._watched):
                stamp = await asyncio.to_thread(_stamp, watched.paths)
                if stamp != before:
                    self._watched[number] = (watched, stamp)
                    await self._reload(watched)

    async def _reload(self, watched: _Watched) -> None:
        try:
            watched.use(await asyncio.to_thread(watched.load))
        except Exception as err:  # whatever is in a file, the next change of it must be seen
            RELOADS.labels(watched.name, "failed").inc()
            expected = isinstance(err, StrettoError | OSError)
            text = "%s changed, but cannot be used; it stays as it was: %s"
            log.error(text, watched.name, err, exc_info=None if expected else err)
        else:
            RELOADS.labels(watched.name, "ok").inc()
            log.info("%s changed: read anew", watched.name)


def _stamp(paths: Sequence[Path]) -> _Stamp:
    """Size, time and inode of each file; it changes when a file does."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
