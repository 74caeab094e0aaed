"""The output of a child process: all of it to a file of bounded size, warnings and errors also to the terminal."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Literal

LOG_BYTES_MAX: Final = 16 * 1024 * 1024  # the file and one older copy: twice that on disk
_LINE_BYTES_MAX: Final = 64 * 1024
_HEAD_CHARS: Final = 120  # the level stands in front; the words of a message must not count

_LEVEL: Final = re.compile(
    r"\b(?P<error>ERROR|CRITICAL|FATAL|level=error|level\":\"error)\b"
    r"|\b(?P<warning>WARN|WARNING|level=warn|level\":\"warn)\b"
    r"|\b(?P<quiet>TRACE|DEBUG|INFO|level=(?:info|debug)|level\":\"(?:info|debug))\b"
    r"|^(?P<crash>Traceback )"
)


class LogFile:
    """Appends to `path`. Above `bytes_max` the file becomes `<path>.1`, and a new one begins. Threads may share it."""

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._bytes_max = path, bytes_max
        self._file: BinaryIO = path.open("ab")
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            if self._file.tell() + len(data) > self._bytes_max:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._path.open("ab")
            self._file.write(data)
            self._file.flush()
        except (OSError, ValueError):
            # Disk full, or the file was lost while it was exchanged. Nothing here may block the child, and
            # where could it be reported?
            return

    def close(self) -> None:
        self._file.close()


Show = Literal["all", "warnings", "errors"]


class OutputEcho:
    """Passes on lines from a level on, and the lines without a level that follow them.

    At most LINES_MAX in WINDOW_S seconds: a worker without Kafka logs some forty errors a second.
    """

    LINES_MAX: Final = 20
    WINDOW_S: Final = 10.0

    def __init__(
        self,
        name: str,
        say: Callable[[str], None],
        *,
        show: Show = "warnings",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._say, self._show, self._clock = name, say, show, clock
        self._loud = show == "all"
        self._window_end = 0.0
        self._lines = 0

    def line(self, text: str) -> None:
        if found := _LEVEL.search(text[:_HEAD_CHARS]):
            self._loud = self._show == "all" or not (found["quiet"] or (found["warning"] and self._show == "errors"))
        if not self._loud or not text.strip():
            return
        if self._clock() >= self._window_end:
            self._window_end, self._lines = self._clock() + self.WINDOW_S, 0
        self._lines += 1
        if self._lines <= self.LINES_MAX:
            self._say(f"{self._name} | {text.removeprefix(f'{self._name}: ')}")
        elif self._lines == self.LINES_MAX + 1:
            self._say(f"{self._name} | … more of this in its log, not shown for up to {self.WINDOW_S:.0f} s")


def pump(source: BinaryIO, log: LogFile, echo: OutputEcho, prefix: bytes = b"") -> None:
    """Copies `source` until its end. Lines longer than 64 KiB are echoed in pieces. prefix: of each line in the log"""
    while line := source.readline(_LINE_BYTES_MAX):
        log.write(prefix + line)
        echo.line(line.decode("utf-8", "replace").rstrip())
