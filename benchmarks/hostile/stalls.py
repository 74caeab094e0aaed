"""python -m benchmarks.hostile.stalls --stalls 200 --seed 1

Stalls of Kafka and of the worker, longer than the timeouts of sessions and rebalances, at each step of joining a
consumer group and of reading, with a load beside them. After each, consuming must go on without help and every
acknowledged span be found; meanwhile no search may answer 200 without what was acknowledged. Status 1 otherwise.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from aiokafka import AIOKafkaProducer

from benchmarks.hostile import kafka_proxy as proxy
from benchmarks.hostile.behind_proxy import SETTINGS, BehindProxy, behind_proxy
from benchmarks.hostile.canary import Canary, request
from benchmarks.hostile.kafka_proxy import Fault
from tests.harness.cluster import BenchError

LAG_S_MAX: Final = float(SETTINGS["STRETTO_KAFKA__LAG_S_MAX"])
# A watchdog that rebuilds, and then a process that ends and starts again, one after the other.
WELL_WITHIN_S: Final = 45.0
_POLL_S: Final = 0.25
_EVERYBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Stall:
    """faults: of the proxy while it lasts; stopped: "worker" or "kafka" by SIGSTOP; cut: connections end at its end"""

    name: str
    faults: tuple[Fault, ...] = ()
    stopped: str = ""
    cut: bool = False


def _lost(*apis: int, requests: bool = False, client: str = "faust") -> Fault:
    return Fault(frozenset(apis), client, requests=requests, answers=not requests)


def kinds() -> list[Stall]:
    """Each step. A consumer joins anew because its heartbeats, or their answers, are lost too."""
    lost_beats = _lost(proxy.HEARTBEAT, requests=True)
    joining = {
        "FindCoordinator": proxy.FIND_COORDINATOR,
        "JoinGroup": proxy.JOIN_GROUP,
        "SyncGroup": proxy.SYNC_GROUP,
        "OffsetFetch": proxy.OFFSET_FETCH,
        "ListOffsets": proxy.LIST_OFFSETS,
    }
    stalls = [Stall("Heartbeat requests lost", (lost_beats,)), Stall("Heartbeat answers lost", (_lost(12),))]
    for name, api in joining.items():
        stalls.append(Stall(f"{name} answers lost while joining", (lost_beats, _lost(api))))
        stalls.append(Stall(f"{name} requests lost while joining", (lost_beats, _lost(api, requests=True))))
    stalls += [
        Stall("Fetch answers lost", (_lost(proxy.FETCH),)),
        Stall("Fetch requests lost", (_lost(proxy.FETCH, requests=True),)),
        Stall("OffsetCommit answers lost", (_lost(proxy.OFFSET_COMMIT),)),
        Stall("Metadata answers lost", (_lost(proxy.METADATA, client=_EVERYBODY),)),
        Stall("all answers to consumers lost", (_lost(),)),
        Stall("all answers lost", (_lost(client=_EVERYBODY),)),
        Stall("all answers lost, then all connections", (_lost(client=_EVERYBODY),), cut=True),
        Stall("answers to consumers 2 s late", (Fault(delay_s=2.0),)),
        Stall("SIGSTOP worker", stopped="worker"),
        Stall("SIGSTOP Kafka", stopped="kafka"),
        Stall("SIGSTOP Kafka while joining", (lost_beats,), stopped="kafka"),
    ]
    return stalls


@dataclass(frozen=True, slots=True)
class Outcome:
    """well_s: from the end of the stall until everything acknowledged is found. restarted: the process has ended.
    problem: "": all is well
    """

    stall: str
    lasts_s: float
    well_s: float
    restarted: bool
    problem: str


def cause(stall: Stall, lasts_s: float, there: BehindProxy, canary: Canary) -> Outcome:
    """Does it, and waits until all is well again."""
    canary.next()
    worker, lies = _worker(there), len(canary.lies)
    message = os.urandom(16)
    time.sleep(1.0)  # something is there before
    there.proxy.set(*stall.faults)
    pid = {"worker": worker, "kafka": there.kafka_pid}.get(stall.stopped)
    if pid is not None:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(lasts_s)
    finally:
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
        there.proxy.set()
    if stall.cut:
        there.proxy.cut()
    ended_s = time.monotonic()
    asyncio.run(_produce(there.kafka_address, request("canary-kafka", message)))
    problem = _until_well(canary, message, ended_s)
    if len(canary.lies) > lies:
        problem = f"{problem}; {canary.lies[-1]}".removeprefix("; ")
    return Outcome(stall.name, lasts_s, time.monotonic() - ended_s, _worker(there) != worker, problem)


def _until_well(canary: Canary, message: bytes, ended_s: float) -> str:
    """What is wrong still when the time is over; "": nothing."""
    checks: dict[str, Callable[[], str]] = {
        "acknowledged since": lambda: "" if canary.last_acknowledged_s > ended_s else "nothing is acknowledged",
        "topic otlp_spans": lambda: "" if message.hex() in (canary.search("canary-kafka") or ()) else "not consumed",
    }
    while True:
        problems = [f"{what}: {problem}" for what, check in checks.items() if (problem := check())]
        if not problems:
            break
        if time.monotonic() - ended_s > WELL_WITHIN_S:
            return "; ".join(problems)
        time.sleep(_POLL_S)
    service = canary.next()
    while missing := canary.missing(service):
        if time.monotonic() - ended_s > WELL_WITHIN_S:
            return f"{missing} not found"
        time.sleep(_POLL_S)
    return ""


def _worker(there: BehindProxy) -> int:
    return next((one.pid for one in there.cluster.processes() if one.name == "worker"), 0)


async def _produce(address: str, body: bytes) -> None:
    """Through the proxy, as Kafka tells its clients to."""
    producer = AIOKafkaProducer(bootstrap_servers=address, client_id="canary")
    await producer.start()
    try:
        await producer.send_and_wait("otlp_spans", body)
    finally:
        await producer.stop()


def main(argv: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.hostile.stalls", description=__doc__)
    parser.add_argument("--stalls", type=int, default=200, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=15.0, metavar="S", help="seconds (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for data and logs, which then stay")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="stalls-") as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with behind_proxy(folder) as there:
                return _report(_all(there, given.stalls, Random(given.seed), given.longest))
        except BenchError as err:
            print(err, file=sys.stderr)
            return 1


def _all(there: BehindProxy, count: int, rng: Random, longest_s: float) -> list[Outcome]:
    canary, outcomes = Canary(there.cluster, LAG_S_MAX), []
    canary.start()
    bag: list[Stall] = []
    try:
        for n in range(count):
            if not bag:
                bag = kinds()
                rng.shuffle(bag)
            outcome = cause(bag.pop(), rng.uniform(1.0, longest_s), there, canary)
            outcomes.append(outcome)
            ends = "  restarted" if outcome.restarted else ""
            ends += f"  WRONG: {outcome.problem}" if outcome.problem else ""
            times = f"{outcome.lasts_s:5.1f} s  well after {outcome.well_s:5.1f} s"
            print(f"{n + 1:4d}  {outcome.stall:44}  {times}{ends}", flush=True)
    finally:
        canary.finish()
    print(f"{canary.answers} searches answered, {canary.refusals} refused, {len(canary.lies)} without what was there")
    return outcomes


def _report(outcomes: Sequence[Outcome]) -> int:
    wrong = [one for one in outcomes if one.problem]
    well_s = sorted(one.well_s for one in outcomes)
    print(
        f"{len(outcomes)} stalls, {sum(one.restarted for one in outcomes)} restarts, {len(wrong)} wrong; "
        f"well after {well_s[len(well_s) // 2]:.1f} s (median), {well_s[-1]:.1f} s (longest)"
        if outcomes
        else "no stalls"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
