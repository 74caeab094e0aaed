"""`make soak`: load for a long time, kill things, and count whether anything was lost or doubled.

python -m benchmarks.soak [--minutes N] [--rate SPANS_PER_SECOND] [--every-s SECONDS] [--seed N] …
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

from benchmarks import measure, workload
from benchmarks.__main__ import setting_variable
from benchmarks.soak import cluster_events, count, events
from benchmarks.soak.asker import Asker
from benchmarks.soak.broker_events import broker_kinds
from benchmarks.soak.bucket import bucket_kinds
from benchmarks.soak.final_count import count_all
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from benchmarks.soak.load import Loader
from benchmarks.soak.report import Report
from benchmarks.soak.reported import reported
from benchmarks.soak.surroundings import Surroundings, settings, started
from benchmarks.soak.template import Template
from tests.harness.cluster import BenchError, Cluster

PASS_S: Final = 10  # the template holds so many seconds of load
LOOK_EVERY_S: Final = 5.0  # between two counts of a part during the load
LATE_S: Final = 5.0  # what was acknowledged is searchable long before
CALM_S: Final = 5.0  # between an event's end and the next event
OF_BUCKET: Final = ("slow-bucket", "bucket-away")
OF_BROKERS: Final = ("kill-broker", "freeze-broker")
WORDS: Final = (*events.kinds(0), *cluster_events.cluster_kinds(), "network", *OF_BUCKET, *OF_BROKERS)
OLD_TRACES: Final = 0.5  # of the looks during the load go to any pass, the others to the newest that is complete


def main(argv: list[str]) -> int:
    given = parse(argv)
    seed = () if "--seed" in argv else ("--seed", str(given.seed))
    return reported("soak", [*argv, *seed], given, settings(given), lambda folder, report: soak(given, folder, report))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of load (default 20)")
    parser.add_argument("--rate", type=int, default=10_000, help="spans a second (default 10000)")
    parser.add_argument("--every-s", type=float, default=45.0, help="seconds between events, in the mean (default 45)")
    parser.add_argument("--seed", type=int, default=1, help="fixes the events' order and distances, and the spans")
    parser.add_argument("--traces", type=int, default=500, help="compared span by span in the end (default 500)")
    parser.add_argument("--block-age-s", type=int, default=30, help="age at which blocks are cut (default 30)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--storage-away-s", type=float, default=20.0, help="how long storage is away (default 20)")
    parser.add_argument("--events", default="", help="only these, with commas: " + ", ".join(WORDS))
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default 1)")
    parser.add_argument("--ask", action="store_true", help="ask all the time, during events too")
    parser.add_argument("--clocks", default="", help="seconds by which the workers' clocks are ahead, as 0,90")
    parser.add_argument("--brokers", type=int, default=1, help="of Kafka (default 1), for kill-broker, freeze-broker")
    parser.add_argument("--bucket", action="store_true", help="blocks in an S3 bucket, for slow-bucket, bucket-away")
    parser.add_argument("--network", action="store_true", help="with a proxy before Kafka, for the event network")
    parser.add_argument(
        "--compaction-window-s",
        type=float,
        default=60.0,
        help="blocks of so many seconds become one while the load runs; 0: no compaction (default 60)",
    )
    parser.add_argument("--setting", action="append", default=[], type=setting_variable, metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="the report's file (default: benchmarks/results/soak-<date>.txt)")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the log")
    given = parser.parse_args(argv)
    if (
        min(given.minutes, given.every_s, given.storage_away_s) <= 0
        or min(given.rate, given.block_age_s, given.partitions, given.brokers) < 1
        or given.compaction_window_s < 0
    ):
        parser.error(
            "--minutes, --rate, --every-s, --storage-away-s, --block-age-s, --partitions and --brokers must be above 0"
        )
    if given.workers < 1:
        parser.error("--workers must be above 0")
    words = [word.strip() for word in given.events.split(",") if word.strip()] or default_words(given)
    if problem := impossible(given, words):
        parser.error(problem)
    given.words = words
    return given


def default_words(given: argparse.Namespace) -> list[str]:
    """All that can happen, but what needs several workers, brokers, a bucket or a proxy, where there are none."""
    words = list(events.kinds(0)) + (list(cluster_events.cluster_kinds()) if given.workers > 1 else [])
    if given.network or given.brokers > 1:
        words = [word for word in words if not word.endswith("-kafka")]
    if given.bucket:
        words = [word for word in words if word != "storage"] + list(OF_BUCKET)
    return words + (["network"] if given.network else []) + (list(OF_BROKERS) if given.brokers > 1 else [])


def impossible(given: argparse.Namespace, words: list[str]) -> str:
    """What is wrong with the options; "": nothing"""
    if wrong := [word for word in words if word not in WORDS]:
        return f"--events: {wrong[0]!r} is none of {', '.join(WORDS)}"
    if given.network and given.brokers > 1:
        return "--network and --brokers do not go together"
    kafka = [word for word in words if word.endswith("-kafka")]
    if (given.network or given.brokers > 1) and kafka:
        option = "--network" if given.network else "--brokers"
        return f"--events: {kafka[0]} is not possible with {option}: that Kafka is not a child of `stretto run`"
    if given.bucket and "storage" in words:
        return "--events: storage is not possible with --bucket, but slow-bucket and bucket-away are"
    needs = {"network": given.network, **dict.fromkeys(OF_BUCKET, given.bucket)}
    needs |= dict.fromkeys(OF_BROKERS, given.brokers > 1)
    if lacking := [word for word in words if not needs.get(word, True)]:
        option = {"network": "--network", **dict.fromkeys(OF_BUCKET, "--bucket")}.get(lacking[0], "--brokers 3")
        return f"--events: {lacking[0]} needs {option}"
    return ""


def chosen_kinds(given: argparse.Namespace, there: Surroundings) -> list[events.Kind]:
    known = {**events.kinds(given.storage_away_s), **cluster_events.cluster_kinds(there.proxy)}
    if there.brokers is not None:
        known |= broker_kinds(there.brokers)
    if there.bucket is not None:
        known |= bucket_kinds(there.bucket, given.storage_away_s)
    return [known[word] for word in given.words]


def soak(given: argparse.Namespace, folder: Path, report: Report) -> None:
    """Load, disturb, count. Raises BenchError where it cannot go on; what is known by then is in the report."""
    options = workload.Options(spans=given.rate * PASS_S, seed=given.seed, spans_per_s=given.rate)
    ledger = Ledger(Template(workload.cached(options)))
    with started(given, folder) as there:
        cluster, kinds = there.cluster, chosen_kinds(given, there)
        say(f"ready at {cluster.http_url}; {given.minutes:g} minutes of load")
        connections = 1 if given.workers == 1 else 4 * given.workers
        loader = Loader(ledger, cluster.otlp_address, given.rate, connections)
        sampler, asker = events.Sampler(cluster), Asker(ledger, lambda: cluster.http_url, given.seed)
        began_s = time.monotonic()
        loader.start()
        sampler.start()
        if given.ask:
            asker.start()
        try:
            disturb(given, kinds, cluster, loader, report)
        finally:
            sampler.finish()
            loader.finish()
            if given.ask:
                asker.finish()
                report.meanwhile += asker.found
                report.late += asker.late
                report.refused, report.wrong_refusals = dict(asker.refused), dict(asker.wrong_refusals)
            fill(report, loader, sampler, began_s)
        say(f"{report.acknowledged:,} spans acknowledged; counting")
        count_all(given, there.cluster, there.storage, ledger, report)
        report.levels = count.levels(there.storage)
        data = cluster.data_dir
        report.disk = {
            "all": measure.disk_bytes(data),
            "Kafka's log": measure.kafka_bytes(data),
            "blocks (Parquet)": measure.parquet_bytes(data),
        }


def disturb(
    given: argparse.Namespace, kinds: list[events.Kind], cluster: Cluster, loader: Loader, report: Report
) -> None:
    """One event after the other while the load runs, and in between a look at what can be found."""
    schedule, rng = events.Schedule(kinds, given.seed, given.every_s), Random(given.seed)
    began_s = time.monotonic()
    end_s = began_s + given.minutes * 60
    next_s, look_s = began_s + schedule.pause_s(), began_s
    while (now_s := time.monotonic()) < end_s:
        if loader.broken:
            raise BenchError(f"the loader failed: {loader.broken!r}")
        if now_s >= next_s:
            event = events.cause(schedule.next(), cluster, loader, began_s)
            report.events.append(event)
            say(f"{event.at_s:7.1f} s  {event.kind}: ready after {event.ready_s} s, acks after {event.acks_s} s")
            next_s = max(now_s + schedule.pause_s(), time.monotonic() + CALM_S)
        elif now_s >= look_s and not given.ask:
            look(cluster, loader.ledger, report, rng)
            look_s = time.monotonic() + LOOK_EVERY_S
        else:
            until_s = min(next_s, end_s) if given.ask else min(next_s, look_s, end_s)
            time.sleep(max(0.0, until_s - now_s))


def look(cluster: Cluster, ledger: Ledger, report: Report, rng: Random) -> None:
    """Count a pass that was sent whole: an answer must be exact at any moment, not only in the end."""
    whole = ledger.passes - 1
    if whole < 1:
        return
    number = rng.randrange(whole) if rng.random() < OLD_TRACES else whole - 1
    found = count.count_pass(cluster.http_url, ledger, number)
    if found.missing:
        time.sleep(LATE_S)
        report.late += 1
        found = count.count_pass(cluster.http_url, ledger, number)
    report.meanwhile.append(found)
    if not found.right:
        say(f"WRONG: {found}")


def fill(report: Report, loader: Loader, sampler: events.Sampler, began_s: float) -> None:
    """What the load came to."""
    ledger = loader.ledger
    report.load_s = round(time.monotonic() - began_s, 1)
    report.acknowledged, report.requests = ledger.spans(ACKNOWLEDGED), ledger.requests(ACKNOWLEDGED)
    report.unknown, report.unknown_requests = ledger.spans(UNKNOWN), ledger.requests(UNKNOWN)
    report.rejected, report.errors, report.ack_ms = loader.rejected_spans, dict(loader.errors), loader.ack_ms()
    report.samples = sampler.samples


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    sys.exit(main(sys.argv[1:]))
