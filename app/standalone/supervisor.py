"""Keep children alive, and end them in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from app.standalone.child import Child, describe
from app.standalone.errors import StandaloneError


@dataclass(frozen=True, slots=True)
class Patience:
    """When a child that dies is started again, and when it is given up.

    Only deaths soon after the start count: a worker that somebody kills again and again has not failed.
    """

    pause_s: float = 1.0
    deaths_max: int = 5
    young_s: float = 5.0


# `stretto run` promises to be gone within 5 s; a margin for our own end.
STOP_S: Final = 4.5
_LAST_S: Final = 1.5  # what the one that is stopped last (Kafka) has at least


async def nothing() -> None:
    """For a child that needs nobody else."""


async def keep_alive(
    child: Child,
    say: Callable[[str], None],
    needs: Callable[[], Awaitable[object]] = nothing,
    patience: Patience = Patience(),
) -> NoReturn:
    """Start `child` again whenever it ends, after waiting for what it `needs`: for a worker, Kafka.

    Raises: StandaloneError after `deaths_max` deaths in a row, each within `young_s` of its start; the child is
    not running then. What `needs` raises.
    """
    name, young_deaths, started_s = child.command.name, 0, time.monotonic()
    while True:
        code = await child.wait()
        young_deaths = young_deaths + 1 if time.monotonic() - started_s <= patience.young_s else 0
        text = f"{name} (pid {child.pid}) ended unexpectedly with {describe(code)}"
        if young_deaths == patience.deaths_max:
            raise StandaloneError(
                f"{text}; given up after {patience.deaths_max} deaths within {patience.young_s:.0f} s of a start. "
                f"Its last words are in {child.command.log}"
            )
        say(f"{text}; starting it again in {patience.pause_s:g} s")
        await asyncio.sleep(patience.pause_s)
        await needs()
        child.start()
        started_s = time.monotonic()


async def stop_in_order(groups: Sequence[Sequence[Child]], first_s: float = 3.0, within_s: float = STOP_S) -> None:
    """Stop one group after the other. Each has `first_s`, the last one what is left of `within_s`.

    The worker before its Kafka: it still commits what it has done.
    """
    end = time.monotonic() + within_s
    for n, group in enumerate(groups):
        left_s = max(_LAST_S, end - time.monotonic())
        is_last = n == len(groups) - 1
        await asyncio.gather(*(child.stop(left_s if is_last else min(first_s, left_s)) for child in group))
