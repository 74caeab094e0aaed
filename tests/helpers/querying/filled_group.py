"""Two processes with traces in blocks, segments and heads."""

from tests.helpers.querying.processes import ProcessGroup, Sent


def spans(first: int, traces: int, *, at_ms: int, parent: int = 0) -> list[Sent]:
    """A span of each trace."""
    return [
        Sent(trace, first + trace, at_ms + trace, "root" if not parent else "child", parent and parent + trace)
        for trace in range(1, traces + 1)
    ]


async def filled(group: ProcessGroup) -> None:
    """Traces of which one span is in a block, one in a segment or head, of two processes; the frontend knows the
    blocks.
    """
    await group.processes["a"].own({0})
    await group.processes["b"].own({1})
    group.log.append(spans(100, 20, at_ms=1000), seconds=100)
    for process in group.processes.values():
        await process.read_all()
    group.log.append(spans(200, 20, at_ms=2000, parent=100), seconds=110)  # another window: the first become blocks
    await read_and_flushed(group)


async def read_and_flushed(group: ProcessGroup) -> None:
    """All processes have read the log; the first records are in blocks, which the frontend knows."""
    for process in group.processes.values():
        await process.read_all()
        await process.flush()
    group.blocks.poll(range(2))
    group.announce()
    assert group.blocks.flushed_offset(0) == 1
