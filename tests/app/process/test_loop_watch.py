"""What holds up the event loop is seen."""

import asyncio
import time

import pytest

from app.process.loop_watch import STALL_SECONDS, WORK_SECONDS, LoopWatch


def observed(histogram=STALL_SECONDS):
    """How many looks there were, and how many of them were more than 0.1 s late."""
    (family,) = histogram.collect()
    counts = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    return counts["+Inf"], counts["+Inf"] - counts["0.1"]


def work():
    until_s = time.thread_time() + 0.15
    while time.thread_time() < until_s:
        pass


@pytest.mark.parametrize(
    ("hold_up", "worked"), [pytest.param(lambda: time.sleep(0.2), 0, id="waits"), pytest.param(work, 1, id="works")]
)
def test_a_stall_is_observed(hold_up, worked):
    """A callback that takes long shows in the histogram; after the stop nothing is observed any more."""

    async def run():
        watch = LoopWatch()
        await watch.on_start()
        hold_up()  # what nothing on the loop may do
        while observed()[0] == looks:
            await asyncio.sleep(0)
        await watch.on_stop()
        ended = observed()
        await asyncio.sleep(0.03)
        assert observed() == ended

    looks, stalls = observed()
    before = observed(WORK_SECONDS)[1]
    asyncio.run(run())
    assert observed()[1] == stalls + 1
    assert observed(WORK_SECONDS)[1] == before + worked
