"""What every receiver is, and what receivers share."""

from dataclasses import dataclass
from typing import Protocol

from app.net.access import Access
from app.net.file_watch import FileWatch
from app.receivers.batcher import Batcher
from app.receivers.decompress import BodyCosts
from app.receivers.input_budget import InputBudget


class Receiver(Protocol):
    """A server that turns a protocol's requests into requests of the batcher.

    reuse_port: whether other processes may listen on the same address (SO_REUSEPORT)
    """

    reuse_port: bool

    async def start(self) -> None:
        """Listens. Raises: OSError if the address cannot be used"""
        ...

    async def stop(self, grace_s: float) -> None:
        """Accepts no new requests. Those that are in have grace_s to finish."""
        ...


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """What all receivers of a process share.

    batcher: the one way in, with a door for each receiver; budget: bytes of all requests that are in
    access: who may send
    watch: files that are read again when they change; costs, body_threads: limits of decompressing a body
    """

    batcher: Batcher
    budget: InputBudget
    access: Access
    watch: FileWatch
    costs: BodyCosts
    body_threads: int
