"""Compressed request bodies: limited in size, parts, ratio and CPU time, counted in the budget, and fair to each other.

A body is decompressed in steps of about a millisecond. The first one runs on the event loop; whoever needs more takes
turns with all others on a few threads, so that a small body never waits until a large one is done.
"""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from app.receivers.codecs import STEP_BYTES, Snappy, TooManyMembers, codec
from app.receivers.input_budget import InputBytes
from tables.errors import WireError

# A ratio is only asked for beyond this: a small body may well be zeros.
_RATIO_FROM_BYTES: Final = 1 << 20
# So long a body may take on the event loop.
_HERE_CPU_S: Final = 0.002


class BodyTooLarge(ValueError):  # noqa: N818  (says what it is)
    """More bytes than a body may have."""


class TooCostly(WireError):  # noqa: N818  (as above)
    """A body that takes more CPU time, parts or a higher ratio than is allowed. limit: which, for the metric"""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class BodyCosts:
    """What a compressed or JSON body may cost. cpu_s: of a thread. ratio_max: bytes after decompression to before."""

    cpu_s: float = 5.0
    members_max: int = 4096
    ratio_max: int = 2000


async def decompressed(
    data: bytes, encoding: str, bytes_max: int, costs: BodyCosts, held: InputBytes, executor: Executor
) -> bytes:
    """The body.

    In:     as it came; its Content-Encoding; how large it may become; where its bytes are counted (as decompressing)
    Raises: UnknownEncoding, BodyTooLarge, TooCostly, Overloaded, WireError if it is not what Content-Encoding says
    """
    loop = asyncio.get_running_loop()
    work = _Work(data, encoding, costs)
    announced = work.announced_bytes()
    if announced > bytes_max:
        raise BodyTooLarge
    # What says its size is made at once; all else piece by piece, each counted when it is there.
    held.add("decompressing", announced)
    here = len(data) <= STEP_BYTES and announced <= STEP_BYTES
    try:
        while True:
            piece = work.step() if here else await loop.run_in_executor(executor, work.step)
            if piece is None:
                return b"".join(work.pieces)
            if work.size > bytes_max:
                raise BodyTooLarge
            if not announced:
                held.add("decompressing", len(piece))
            # The rest of what is nearly done is not worth a thread.
            here = len(data) <= STEP_BYTES and work.size < STEP_BYTES // 2 and work.cpu_s < _HERE_CPU_S
    finally:
        work.pieces.clear()  # a traceback must not keep them


class _Work:
    """A body that is being decompressed; what it took so far."""

    def __init__(self, data: bytes, encoding: str, costs: BodyCosts) -> None:
        self._size_before, self._costs = len(data), costs
        self._codec = codec(data, encoding, costs.members_max)
        self.pieces: list[bytes] = []
        self.size = 0
        self.cpu_s = 0.0

    def announced_bytes(self) -> int:
        """The size of a body that says it and is made at once, else 0. Raises: WireError"""
        size = self._codec.size_bytes() if isinstance(self._codec, Snappy) else None
        if size is not None:
            self._check_ratio(size)
        return size or 0

    def step(self) -> bytes | None:
        """The next piece; None at the end. Raises: TooCostly, WireError"""
        start_s = time.thread_time()
        try:
            piece = self._codec.step()
        except TooManyMembers as err:
            raise TooCostly(str(err), "members") from err
        self.cpu_s += time.thread_time() - start_s
        if piece is None:
            return None
        self.pieces.append(piece)
        self.size += len(piece)
        self._check_ratio(self.size)
        if self.cpu_s > self._costs.cpu_s:
            raise TooCostly(
                f"the body takes longer to decompress than {self._costs.cpu_s:g} s (distributor.input.body_cpu_s_max)",
                "cpu",
            )
        return piece

    def _check_ratio(self, size: int) -> None:
        if size > max(_RATIO_FROM_BYTES, self._size_before * self._costs.ratio_max):
            raise TooCostly(
                f"the body grows to more than {self._costs.ratio_max} times its size (distributor.input.ratio_max)",
                "ratio",
            )
