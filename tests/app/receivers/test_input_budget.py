"""The budget of input: who is refused, and that all comes back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.receivers import input_budget
from app.receivers.input_budget import INPUT_BYTES, InputBudget, Overloaded


def test_a_tenant_that_fills_its_share_refuses_nobody_else():
    """The error names the setting; what is held stays as it was."""
    budget = InputBudget(1000, 0.5)
    full, other = budget.open("a"), budget.open("b")
    full.add("reading", 500)
    with pytest.raises(Overloaded, match=r"requests of tenant a hold 500 .* 500 \(distributor.input.tenant_share\)"):
        budget.open("a").add("reading", 1)
    with pytest.raises(Overloaded):
        full.expect(1)
    other.add("waiting", 500)
    with pytest.raises(Overloaded, match=r"1000 \(distributor.input.bytes_max\)"):
        budget.open("c").add("json", 1)
    assert budget.used_bytes == 1000
    full.release()
    budget.open("c").add("json", 400)
    assert budget.used_bytes == 900


def test_stages():
    """What a request held becomes what it is now; the gauge shows each stage."""
    budget = InputBudget(1000)
    held = budget.open("t")
    held.add("reading", 100)
    held.add("decompressing", 700)
    held.become("decompressing", 700)
    assert (INPUT_BYTES.labels("reading")._value, budget.used_bytes) is not None
    held.become("waiting", 1000)
    assert budget.used_bytes == 1000
    with pytest.raises(Overloaded):
        held.become("waiting", 1001)
    assert budget.used_bytes == 1000
    shown = {s.labels["stage"]: s.value for m in INPUT_BYTES.collect() for s in m.samples}
    assert shown == {"reading": 0, "decompressing": 0, "json": 0, "translating": 0, "waiting": 1000}
    held.release()
    held.release()
    assert budget.used_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["reading", "json"]), st.integers(0, 400))))
def test_never_above_the_limit(steps):
    """Whatever is asked for, in whatever order; and all of it comes back."""
    budget = InputBudget(1000, 0.5)
    requests = []
    held_by = dict.fromkeys("abc", 0)
    for tenant, stage, size in steps:
        request = budget.open(tenant)
        try:
            request.add(stage, size)
        except Overloaded:
            assert held_by[tenant] + size > 500 or sum(held_by.values()) + size > 1000
            continue
        held_by[tenant] += size
        requests.append(request)
        assert budget.used_bytes == sum(held_by.values()) <= 1000
        assert held_by[tenant] <= 500
    for request in requests:
        request.release()
    assert budget.used_bytes == 0
    assert budget._by_tenant == {}


def test_memory_goes_back_after_a_burst(monkeypatch):
    """Once, when a burst is over; not for small ones."""
    released = asyncio.Event()
    monkeypatch.setattr(input_budget, "_RELEASE_AFTER_S", 0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(
            input_budget, "release_to_system", lambda: loop.call_soon_threadsafe(released.set) is not None
        )
        budget = InputBudget(1 << 30)
        for size, expected in ((1000, False), (100 << 20, True)):
            held = budget.open("t")
            held.add("reading", size)
            held.release()
            if expected:
                async with asyncio.timeout(5):
                    await released.wait()
            assert released.is_set() == expected

    asyncio.run(main())
