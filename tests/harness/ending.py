"""Ends child processes: they are asked to, waited for, and killed where they take too long."""

import signal
import subprocess
from collections.abc import Iterable
from typing import Any

Process = subprocess.Popen[Any]


def end(process: Process, within_s: float, how: signal.Signals = signal.SIGTERM) -> None:
    """Ends a process; nothing where it has ended. within_s: after so many seconds it is killed"""
    end_all([process], within_s, how)


def end_all(processes: Iterable[Process], within_s: float, how: signal.Signals = signal.SIGTERM) -> None:
    """Ends processes that may need each other to end: all are asked first. within_s: for each, one after the other"""
    asked = list(processes)
    for process in asked:
        process.send_signal(how)
    for process in asked:
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
