"""How long work holds the GIL at a time, by how much CPU the process uses while another thread waits for it."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_LOOK_S = 0.0005


def longest_hold_s(work: Callable[[], Any]) -> float:
    """CPU seconds of the longest time for which no other thread could run. What else the machine does hardly counts."""
    done, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001 (raised below)
            failed.append(err)
        done.set()

    interval_s, longest_s = sys.getswitchinterval(), 0.0
    sys.setswitchinterval(1e-4)  # as the server's
    try:
        thread = threading.Thread(target=run)
        thread.start()
        while not done.is_set():
            wall_s, cpu_s = time.monotonic(), time.process_time()
            time.sleep(_LOOK_S)
            longest_s = max(longest_s, min(time.monotonic() - wall_s - _LOOK_S, time.process_time() - cpu_s))
        thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    if failed:
        raise failed[0]
    return longest_s
