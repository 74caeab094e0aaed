"""`make upgrade FROM=<revision>`: real processes are upgraded one by one, and back, under load; then spans are counted.

python -m benchmarks.upgrade [--from REVISION] [--no-back] [--rate SPANS_PER_SECOND] …
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks import revisions, workload
from benchmarks.__main__ import setting_variable
from benchmarks.soak.__main__ import PASS_S
from benchmarks.soak.count import Found, levels
from benchmarks.soak.final_count import count_all
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from benchmarks.soak.report import Report
from benchmarks.soak.reported import reported
from benchmarks.soak.surroundings import compaction_settings
from benchmarks.soak.template import Template
from benchmarks.upgrade.fleet import LARGE, SMALL, Fleet
from benchmarks.upgrade.rolling import Rolling
from tables.storage.config import StorageConfig
from tests.harness.remote_write_receiver import RemoteWriteReceiver, listening

# The last revision that others run, before the present one. With a release, its tag.
FORMER: Final = "4bd8a1ea5f4f21ae213a34a4e6bf5d884febf74a"
CALLS: Final = "traces_spanmetrics_calls_total"
PUSHED_S: Final = 60.0  # until the last increase is pushed


def main(argv: list[str]) -> int:
    given = parse(argv)
    return reported("upgrade", argv, given, settings(given), lambda folder, report: upgrade(given, folder, report))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upgrade", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--from", dest="former", default=FORMER, help="a revision that git knows (default: %(default)s)"
    )
    parser.add_argument("--no-back", dest="back", action="store_false", help="do not go back to it afterwards")
    parser.add_argument("--small", action="store_true", help="five processes instead of eleven")
    parser.add_argument("--rate", type=int, default=2_000, help="spans a second (default 2000)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--pause-s", type=float, default=3.0, help="between two processes (default 3)")
    parser.add_argument("--settle-s", type=float, default=20.0, help="of load before and after (default 20)")
    parser.add_argument("--block-age-s", type=int, default=10, help="age at which blocks are cut (default 10)")
    parser.add_argument("--compaction-window-s", type=float, default=30.0, help="0: no compaction (default 30)")
    parser.add_argument("--traces", type=int, default=200, help="compared span by span in the end (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--setting", action="append", default=[], type=setting_variable, metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="the report's file (default: benchmarks/results/upgrade-<date>.txt)")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the logs")
    given = parser.parse_args(argv)
    if min(given.rate, given.partitions, given.block_age_s) < 1 or given.compaction_window_s < 0:
        parser.error("--rate, --partitions and --block-age-s must be above 0")
    return given


def settings(given: argparse.Namespace) -> dict[str, str]:
    """Settings of all processes as environment variables."""
    return {
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(given.block_age_s),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": str(min(5, given.block_age_s)),
        "STRETTO_KAFKA__PARTITIONS": str(given.partitions),
        "STRETTO_METRICS_GENERATOR__REGISTRY__COLLECTION_INTERVAL_S": "2",
        **compaction_settings(given.compaction_window_s),
        **dict(given.setting),
    }


def upgrade(given: argparse.Namespace, folder: Path, report: Report) -> None:
    """To the present revision and back. Raises BenchError where it cannot go on."""
    former, words = revisions.former(given.former, folder / "former")
    present = revisions.of_now(folder / "present")
    print(f"from {former.name} ({words}) to {present.name}", flush=True)
    options = workload.Options(spans=given.rate * PASS_S, seed=given.seed, spans_per_s=given.rate)
    ledger = Ledger(Template(workload.cached(options)))
    with (
        listening() as receiver,
        Fleet(folder, SMALL if given.small else LARGE, {**settings(given), "REMOTE_WRITE_URL": receiver.url}) as fleet,
    ):
        storage = StorageConfig("local", str(fleet.data_dir / "blocks"))
        fleet.start(former)
        rolling = Rolling(fleet, ledger, report, given.pause_s)
        rolling.wait_until_ready(fleet.order())
        ways = [(fleet.order(), present)]
        if given.back:
            ways.append((fleet.order()[::-1], former))
        for names, code in ways:
            rolling.replace(names, code, given.rate, given.settle_s, given.seed)
            when = f"all run {code.name}: "
            count_all(given, fleet, storage, ledger, report, when)
            report.counts[f"{when}by the metrics generator"] = generated(receiver, ledger)
            report.levels = levels(storage)


def generated(receiver: RemoteWriteReceiver, ledger: Ledger) -> Found:
    """The calls that the metrics generator has pushed; waits for the last push."""
    deadline_s = time.monotonic() + PUSHED_S
    least, most = ledger.spans(ACKNOWLEDGED), ledger.spans(ACKNOWLEDGED) + ledger.spans(UNKNOWN)
    while (calls := int(receiver.increase(CALLS))) < least and time.monotonic() < deadline_s:
        time.sleep(1)
    found = Found(calls, max(0, least - calls), max(0, calls - most), max(0, min(calls, most) - least))
    if not found.right:
        found.example(f"metrics generator: {calls} calls, {least} to {most} expected")
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    sys.exit(main(sys.argv[1:]))
