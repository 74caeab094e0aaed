"""What holds up the event loop is seen."""

import asyncio
import threading
import time

import pytest

from app.process.loop_watch import GIL_WAIT_SECONDS, OTHER_WAIT_SECONDS, STALL_SECONDS, WORK_SECONDS, LoopWatch

PARTS = (WORK_SECONDS, GIL_WAIT_SECONDS, OTHER_WAIT_SECONDS)


def observed(histogram=STALL_SECONDS):
    """How many looks there were, and how many of them were more than 0.1 s late."""
    (family,) = histogram.collect()
    counts = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    return counts["+Inf"], counts["+Inf"] - counts["0.1"]


def work():
    until_s = time.thread_time() + 0.15
    while time.thread_time() < until_s:
        pass


def wait_for_another_thread():
    other = threading.Thread(target=work)
    other.start()
    other.join()


@pytest.mark.parametrize(
    ("hold_up", "part"),
    [
        pytest.param(lambda: time.sleep(0.2), OTHER_WAIT_SECONDS, id="nothing runs"),
        pytest.param(wait_for_another_thread, GIL_WAIT_SECONDS, id="another thread computes"),
        pytest.param(work, WORK_SECONDS, id="works"),
    ],
)
def test_a_stall_is_observed(hold_up, part):
    """A callback that takes long shows in the histogram, and in that of the part that took the time. After the stop
    nothing is observed any more.
    """

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
    before = {one: observed(one)[1] for one in PARTS}
    asyncio.run(run())
    assert observed()[1] == stalls + 1
    grown = {one for one in PARTS if observed(one)[1] > before[one]}
    assert part in grown
    assert grown <= {part, OTHER_WAIT_SECONDS}  # a busy machine may stop whoever computes
