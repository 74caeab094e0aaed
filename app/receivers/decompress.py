"""Decompresses request bodies: limited in size, parts, ratio and CPU time, counted in the budget, and fair to each
other.

A body is decompressed in steps of about a millisecond. The first step runs on the event loop. A body that needs more
takes turns with all others on a few threads, so that a small body never waits until a large one is done.
"""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from app.receivers.codecs import STEP_BYTES, Snappy, TooManyMembers, codec
from app.receivers.input_budget import InputBytes
from tables.errors import WireError

# The ratio is checked only above this size: a small body may well be all zeros.
_RATIO_FROM_BYTES: Final = 1 << 20
# CPU time that a body may take on the event loop.
_HERE_CPU_S: Final = 0.002


class BodyTooLarge(ValueError):  # noqa: N818  (says what it is)
    """A body that exceeds the size limit."""


class TooCostly(WireError):  # noqa: N818  (as above)
    """A body that exceeds the limit of CPU time, parts or ratio. limit: which one, for the metric"""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True)
class BodyCosts:
    """Limits of a compressed or JSON body. cpu_s: CPU seconds of a thread; ratio_max: largest compression ratio"""

    cpu_s: float = 5.0
    members_max: int = 4096
    ratio_max: int = 2000


async def decompressed(
    data: bytes, encoding: str, bytes_max: int, costs: BodyCosts, held: InputBytes, executor: Executor
) -> bytes:
    """The decompressed body.

    In: the body as received; its Content-Encoding; its size limit; the budget in which its bytes count (as
    decompressing)
    Raises: UnknownEncoding, BodyTooLarge, TooCostly, Overloaded, WireError if it does not match its Content-Encoding
    """
    loop = asyncio.get_running_loop()
    work = _Work(data, encoding, costs)
    announced = work.announced_bytes()
    if announced > bytes_max:
        raise BodyTooLarge
    # A body that declares its size is decompressed in one step; others piece by piece, each counted when produced.
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
            # A nearly finished body is not worth a thread.
            here = len(data) <= STEP_BYTES and work.size < STEP_BYTES // 2 and work.cpu_s < _HERE_CPU_S
    finally:
        work.pieces.clear()  # a traceback must not keep them


class _Work:
    """A body during decompression, and what it has used so far."""

    def __init__(self, data: bytes, encoding: str, costs: BodyCosts) -> None:
        self._size_before, self._costs = len(data), costs
        self._codec = codec(data, encoding, costs.members_max)
        self.pieces: list[bytes] = []
        self.size = 0
        self.cpu_s = 0.0

    def announced_bytes(self) -> int:
        """The declared size of a body that is decompressed in one step, else 0. Raises: WireError"""
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
