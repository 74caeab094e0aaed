"""Keeps child processes alive, and stops them in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from app.standalone.child import Child, describe
from app.standalone.errors import StandaloneError


@dataclass(frozen=True, slots=True)
class Patience:
    """When to restart a child that has died, and when to give up.

    Only deaths soon after the start count: a worker that somebody kills repeatedly has not failed. Each of them doubles
    the pause, up to pause_s_max.
    """

    pause_s: float = 1.0
    deaths_max: int = 5
    young_s: float = 5.0
    pause_s_max: float = 1.0


OF_ONE: Final = Patience()
# Of one of several workers: the others serve meanwhile.
OF_SEVERAL: Final = Patience(pause_s_max=30.0)


# `stretto run` promises to be gone within 5 s; a margin for our own end.
STOP_S: Final = 4.5
_LAST_S: Final = 1.5  # what the one that is stopped last (Kafka) has at least


async def nothing() -> None:
    """The `needs` of a child that depends on no other."""


def never() -> bool:
    """Of a child that is given up if it dies again and again."""
    return False


async def keep_alive(
    child: Child,
    say: Callable[[str], None],
    needs: Callable[[], Awaitable[object]] = nothing,
    patience: Patience = OF_ONE,
    established: Callable[[], bool] = never,
) -> NoReturn:
    """Restarts `child` whenever it ends, after waiting for what it `needs`: for a worker, Kafka.

    established: whether it is never given up: it has served before, or others serve in its place

    Raises: StandaloneError after `deaths_max` deaths in a row, each within `young_s` of its start; the child is then
    not running. Also what `needs` raises
    """
    name, young_deaths, started_s = child.command.name, 0, time.monotonic()
    while True:
        code = await child.wait()
        young_deaths = young_deaths + 1 if time.monotonic() - started_s <= patience.young_s else 0
        text = f"{name} (pid {child.pid}) ended unexpectedly with {describe(code)}"
        if young_deaths >= patience.deaths_max and not established():
            raise StandaloneError(
                f"{text}; given up after {patience.deaths_max} deaths within {patience.young_s:.0f} s of a start. "
                f"Its last words are in {child.command.log}"
            )
        pause_s = min(patience.pause_s * 2 ** max(0, min(young_deaths - 1, 30)), patience.pause_s_max)
        pause_s = max(pause_s, patience.pause_s)
        say(f"{text}; starting it again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        await needs()
        child.start()
        started_s = time.monotonic()


async def stop_in_order(groups: Sequence[Sequence[Child]], first_s: float = 3.0, within_s: float = STOP_S) -> None:
    """Stops one group after the other. Each has `first_s`, the last one the rest of `within_s`.

    The worker stops before its Kafka, because it still commits what it has done.
    """
    end = time.monotonic() + within_s
    for n, group in enumerate(groups):
        left_s = max(_LAST_S, end - time.monotonic())
        is_last = n == len(groups) - 1
        await asyncio.gather(*(child.stop(left_s if is_last else min(first_s, left_s)) for child in group))
