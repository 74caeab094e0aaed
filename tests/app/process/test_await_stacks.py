"""Where coroutines wait, of this loop and of another thread's."""

import asyncio
import threading

from app.process.await_stacks import waits_in


async def start_of_a_part(gate: asyncio.Event) -> None:
    await inner(gate)


async def inner(gate: asyncio.Event) -> None:
    await gate.wait()


def test_waits_in() -> None:
    """The innermost first; tasks that do something else are left out; none is left when it has gone on."""

    async def main() -> None:
        gate = asyncio.Event()
        task = asyncio.ensure_future(start_of_a_part(gate))
        other = asyncio.ensure_future(gate.wait())
        await asyncio.sleep(0)
        (found,) = waits_in("start_of_a_part")
        assert [place.split()[-1] for place in found.split(" < ")] == ["wait", "inner", "start_of_a_part"]
        assert "process/test_await_stacks.py:" in found
        gate.set()
        await asyncio.gather(task, other)
        assert waits_in("start_of_a_part") == []

    asyncio.run(main())


def test_of_another_thread() -> None:
    """Faust's consumer has a loop and a thread of its own."""
    loop, gate = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(start_of_a_part(gate)))
    thread.start()

    async def main() -> None:
        async with asyncio.timeout(10):
            while not any("inner" in place for place in waits_in("start_of_a_part", [loop])):
                await asyncio.sleep(0.01)

    asyncio.run(main())
    loop.call_soon_threadsafe(gate.set)
    thread.join(5)
    loop.close()
