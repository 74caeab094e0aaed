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
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
_START_S: Final = 30.0
_LOG_LINES: Final = 12
_EVERYBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Stall:
    """faults: of the proxy while it lasts; stopped: "worker" or "kafka" by SIGSTOP; cut: connections end at its end

    skip: at least 0: the worker is killed first, and while it starts again the one fault begins with the request that
    comes after so many that it could have met
    """

    name: str
    faults: tuple[Fault, ...] = ()
    stopped: str = ""
    cut: bool = False
    skip: int = -1


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


# Requests of a worker that starts; some come again and again, so that more are not of the start.
_OF_A_START: Final = {
    "ApiVersions": (proxy.API_VERSIONS, 16),
    "Metadata": (proxy.METADATA, 14),
    "InitProducerId": (proxy.INIT_PRODUCER_ID, 1),
    "FindCoordinator": (proxy.FIND_COORDINATOR, 8),
    "JoinGroup": (proxy.JOIN_GROUP, 3),
    "SyncGroup": (proxy.SYNC_GROUP, 2),
    "OffsetFetch": (proxy.OFFSET_FETCH, 8),
    "ListOffsets": (proxy.LIST_OFFSETS, 4),
    "Fetch": (proxy.FETCH, 4),
}
_ALL_OF_A_START: Final = 60


def kinds_while_starting(rng: Random) -> list[Stall]:
    """Each request of a start, the first of its kind or a later one."""
    stalls = []
    for name, (api, count) in _OF_A_START.items():
        for client in dict.fromkeys((_EVERYBODY, "faust")):
            fault = _lost(api, requests=rng.random() < 0.3, client=client)
            what = "requests" if fault.requests else "answers"
            skip = rng.randrange(count if client == _EVERYBODY else min(count, 3))
            stalls.append(Stall(f"{name} {what} lost while starting ({client or 'all'} {skip})", (fault,), skip=skip))
    skip = rng.randrange(_ALL_OF_A_START)
    stalls.append(Stall(f"all answers lost while starting ({skip})", (_lost(client=_EVERYBODY),), skip=skip))
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
    """Causes a stall, and waits until consumption has recovered."""
    canary.next()
    worker, lies = _worker(there), len(canary.lies)
    message = os.urandom(16)
    time.sleep(1.0)  # something is there before
    if stall.skip >= 0:
        _while_starting(stall, lasts_s, there)
        worker = _worker(there)
    else:
        _while_running(stall, lasts_s, there)
    ended_s = time.monotonic()
    asyncio.run(_produce(there.kafka_address, request("canary-kafka", message)))
    problem = _until_well(canary, message, ended_s)
    if len(canary.lies) > lies:
        problem = f"{problem}; {canary.lies[-1]}".removeprefix("; ")
    return Outcome(stall.name, lasts_s, time.monotonic() - ended_s, _worker(there) != worker, problem)


def _while_running(stall: Stall, lasts_s: float, there: BehindProxy) -> None:
    there.proxy.set(*stall.faults)
    pid = {"worker": _worker(there), "kafka": there.kafka_pid}.get(stall.stopped)
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


def _while_starting(stall: Stall, lasts_s: float, there: BehindProxy) -> None:
    kill_worker(there)
    (fault,) = stall.faults
    there.proxy.set_later(fault, stall.skip, lasts_s)
    there.proxy.caught.wait(_START_S)
    while there.proxy.caught.is_set() and there.proxy.faulty:
        time.sleep(_POLL_S)
    there.proxy.set()
    end_s = time.monotonic() + _START_S
    while not _worker(there) and time.monotonic() < end_s:  # the fault met what prepares its start
        time.sleep(_POLL_S)


def kill_worker(there: BehindProxy) -> None:
    """By SIGKILL; returns when it has gone. Who watches it starts it again."""
    pid = _worker(there)
    os.kill(pid, signal.SIGKILL)
    while _worker(there) == pid:
        time.sleep(_POLL_S)


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
    """Runs the stalls and returns the exit status."""
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
                bag = kinds() + kinds_while_starting(rng)
                rng.shuffle(bag)
            outcome = cause(bag.pop(), rng.uniform(1.0, longest_s), there, canary)
            outcomes.append(outcome)
            ends = "  restarted" if outcome.restarted else ""
            ends += f"  WRONG: {outcome.problem}" if outcome.problem else ""
            times = f"{outcome.lasts_s:5.1f} s  well after {outcome.well_s:5.1f} s"
            if outcome.problem:
                ends += "\n" + _state(there)
            print(f"{n + 1:4d}  {outcome.stall:52}  {times}{ends}", flush=True)
    finally:
        canary.finish()
    print(f"{canary.answers} searches answered, {canary.refusals} refused, {len(canary.lies)} without what was there")
    return outcomes


def _state(there: BehindProxy) -> str:
    """What is to be seen of a worker that is not well, for whoever reads the log."""
    pid = _worker(there)
    threads = [one.read_text().strip() for one in Path(f"/proc/{pid}/task").glob("*/comm")]
    metrics = _get(there, "/metrics").splitlines()
    lines = [
        f"worker {pid} at {datetime.now(UTC):%H:%M:%S}, threads: {', '.join(sorted(threads))}",
        f"/ready: {_get(there, '/ready').strip()}",
        *(one for one in metrics if one.startswith(("stretto_consumer_", "stretto_kafka_silent"))),
        *there.cluster.log.read_text(errors="replace").splitlines()[-_LOG_LINES:],
    ]
    return "".join(f"        | {line}\n" for line in lines).rstrip()


def _get(there: BehindProxy, path: str) -> str:
    try:
        with urllib.request.urlopen(there.cluster.http_url + path, timeout=5) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as err:
        return err.read().decode()
    except OSError as err:
        return repr(err)


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
