"""How far an import is: one line that changes, on a terminal; else a line now and then."""

import threading
import time
from typing import Final, TextIO

_TERMINAL_S: Final = 0.5
_FILE_S: Final = 30.0
_WIDTH: Final = 100
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1000


class ProgressLine:
    """Counts blocks, bytes and spans, and writes where the import stands. Thread-safe."""

    def __init__(self, out: TextIO, tenant: str, blocks: int, size_bytes: int) -> None:
        """blocks, size_bytes: of the whole import of this tenant"""
        self._out, self._tenant, self._blocks, self._bytes = out, tenant, blocks, size_bytes
        self._terminal = out.isatty()
        self._began_s = self._shown_s = time.monotonic()
        self._blocks_done = self._bytes_done = 0
        self._lock = threading.Lock()
        self.spans = 0

    def read(self, spans: int) -> None:
        """So many more spans were read."""
        every_s = _TERMINAL_S if self._terminal else _FILE_S
        with self._lock:
            self.spans += spans
            if time.monotonic() - self._shown_s > every_s:
                self._show()

    def block(self, size_bytes: int) -> None:
        """Counts a block that is imported, and its size."""
        with self._lock:
            self._blocks_done += 1
            self._bytes_done += size_bytes
            if self._terminal:
                self._show()

    def say(self, line: str) -> None:
        """Writes a line of its own."""
        with self._lock:
            self._out.write(f"\r{line:<{_WIDTH}}\n" if self._terminal else f"{line}\n")

    def close(self) -> None:
        """Ends the line."""
        if self._terminal:
            self._show()
            self._out.write("\n")
        self._out.flush()

    def _show(self) -> None:
        self._shown_s = time.monotonic()
        line = self._line()
        self._out.write(f"\r{line:<{_WIDTH}}" if self._terminal else f"{line}\n")
        self._out.flush()

    def _line(self) -> str:
        elapsed_s = max(1e-9, time.monotonic() - self._began_s)
        left = ""
        if self._bytes_done:
            left = f", {shown_seconds(elapsed_s * (self._bytes - self._bytes_done) / self._bytes_done)} left"
        return (
            f"{self._tenant}: {self._blocks_done} of {self._blocks} blocks, "
            f"{shown_bytes(self._bytes_done)} of {shown_bytes(self._bytes)}, "
            f"{self.spans:,} spans, {self.spans / elapsed_s:,.0f} spans/s{left}"
        )


def shown_bytes(size_bytes: float) -> str:
    """A size with a unit: `1.2 GB`."""
    for unit in _UNITS[:-1]:
        if size_bytes < _STEP:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= _STEP
    return f"{size_bytes:.3g} {_UNITS[-1]}"


def shown_seconds(seconds: float) -> str:
    """A time to wait: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
