"""What holds up the event loop is seen."""

import asyncio
import time

from app.loop_watch import STALL_SECONDS, LoopWatch


def observed():
    """How many looks there were, and how many of them were more than 0.1 s late."""
    (family,) = STALL_SECONDS.collect()
    counts = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    return counts["+Inf"], counts["+Inf"] - counts["0.1"]


def test_a_stall_is_observed():
    """A callback that takes long shows in the histogram; after the stop nothing is observed any more."""

    async def run():
        watch = LoopWatch()
        await watch.on_start()
        time.sleep(0.2)  # what nothing on the loop may do
        while observed()[0] == looks:
            await asyncio.sleep(0)
        await watch.on_stop()
        ended = observed()
        await asyncio.sleep(0.03)
        assert observed() == ended

    looks, stalls = observed()
    asyncio.run(run())
    assert observed()[1] == stalls + 1
