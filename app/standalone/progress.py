"""How far a download is: one bar on a terminal, a line every other second elsewhere."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

_MB: Final = 1_000_000
_BAR_CELLS: Final = 30
_REDRAW_S: Final = 0.1
_LINE_S: Final = 2.0


class DownloadProgress:
    """Counts bytes and files, from any thread; a context manager, so that the last state is shown."""

    def __init__(
        self,
        what: str,
        files: int,
        total_bytes: int,
        say: Callable[[str], None],
        stream: TextIO | None = None,
    ) -> None:
        self._what, self._files, self._total_bytes = what, files, total_bytes
        self._say = say
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._lock = threading.Lock()
        self._done_bytes = self._done_files = 0
        self._next = time.monotonic() + (0 if self._bar else _LINE_S)

    def __enter__(self) -> Self:
        if not self._bar:
            self._say(f"{self._what}: fetching {self._files} files, {self._total_bytes / _MB:.0f} MB")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._bar:
                self._stream.write(f"\r{self._text()}\n")
                self._stream.flush()
            elif error is None:
                self._say(self._text())

    def add(self, n_bytes: int) -> None:
        """`n_bytes` more have come; negative if a file starts anew."""
        with self._lock:
            self._done_bytes += n_bytes
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + (_REDRAW_S if self._bar else _LINE_S)
            if self._bar:
                self._stream.write(f"\r{self._text()}")
                self._stream.flush()
            else:
                self._say(self._text())

    def file_done(self) -> None:
        with self._lock:
            self._done_files += 1

    def _text(self) -> str:
        done = min(1.0, self._done_bytes / max(1, self._total_bytes))
        text = (
            f"{self._what}: {self._done_files} of {self._files} files, "
            f"{self._done_bytes / _MB:.1f} of {self._total_bytes / _MB:.1f} MB"
        )
        if not self._bar:
            return text
        cells = int(done * _BAR_CELLS)
        return f"[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {text}"
