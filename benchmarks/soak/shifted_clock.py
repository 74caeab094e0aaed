"""Shifts the clock of a worker of `stretto run`, as on a machine whose clock is wrong: the time of day, not the time
that passes.

Python runs this at its start where the file's name is sitecustomize.py and its folder is on PYTHONPATH. So no program
knows of it. CHAOS_CLOCKS_S has the seconds by which the clocks of the workers are ahead, with commas between: of worker
1, worker 2, …, and so on from the first again. Other processes, whose clock is right, are not concerned.
"""

import os
import time


def shift(ahead_s: float) -> None:
    """From now on `time.time` and `time.time_ns` are ahead by so many seconds."""
    seconds, nanoseconds = time.time, time.time_ns
    ahead_ns = round(ahead_s * 1_000_000_000)
    time.time = lambda: seconds() + ahead_s
    time.time_ns = lambda: nanoseconds() + ahead_ns


_AHEAD_S = [float(text) for text in os.environ.get("CHAOS_CLOCKS_S", "").split(",") if text]
_WORKER = os.environ.get("STRETTO_WORKER", "")
if _AHEAD_S and _WORKER:
    shift(_AHEAD_S[(int(_WORKER) - 1) % len(_AHEAD_S)])
