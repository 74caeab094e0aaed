"""One process after the other is replaced by another revision, under load and questions."""

import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.revisions import Code
from benchmarks.soak.asker import Asker
from benchmarks.soak.events import Event
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from benchmarks.soak.load import Loader
from benchmarks.soak.report import Report
from benchmarks.upgrade.fleet import Fleet, is_ready
from tests.harness.cluster import BenchError

READY_S: Final = 120.0
STOP_S: Final = 60.0  # as the Helm chart gives a process
POLL_S: Final = 0.2
# What would tell that one revision does not understand the other.
COMPLAINTS: Final = (
    "stretto_live_store_records_skipped_total",
    "stretto_members_unreadable_total",
    "stretto_compaction_jobs_skipped_total",
    "stretto_compaction_job_failures_total",
    "stretto_blocks_damaged",
    "tempo_metrics_generator_journal_failures_total",
    "tempo_metrics_generator_collections_failed_total",
)


class Rolling:
    """Fills the report."""

    def __init__(self, fleet: Fleet, ledger: Ledger, report: Report, pause_s: float) -> None:
        """pause_s: between two processes"""
        self._fleet, self._ledger, self._report, self._pause_s = fleet, ledger, report, pause_s
        self._began_s = time.monotonic()
        self._errors: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._wrong_refusals: Counter[str] = Counter()

    def wait_until_ready(self, names: Sequence[str]) -> None:
        """Raises: BenchError if one is not ready after READY_S, or has ended"""
        deadline_s = time.monotonic() + READY_S
        for name in names:
            while not is_ready(self._fleet.members[name].http_url):
                if self._fleet.members[name].ended:
                    raise BenchError(f"{name} has ended by itself\n{self._fleet.log_end()}")
                if time.monotonic() > deadline_s:
                    raise BenchError(f"{name} is not ready after {READY_S:g} s\n{self._fleet.log_end()}")
                time.sleep(POLL_S)

    def replace(self, names: Sequence[str], code: Code, rate: int, settle_s: float, seed: int) -> None:
        """These, in this order, with load and questions from `settle_s` before until `settle_s` afterwards.

        rate: spans a second. Raises: BenchError
        """
        loader = Loader(self._ledger, self._fleet.otlp_address, rate)
        asker = Asker(self._ledger, lambda: self._fleet.http_url, seed, orderly=True)
        loader.start()
        asker.start()
        try:
            self._settle(settle_s, loader)
            for name in names:
                self._report.events.append(self._one(name, code, loader))
                print(f"{name} runs {code.name}", flush=True)
                self._settle(self._pause_s, loader)
            self._settle(settle_s, loader)
            for name in names:
                self._note_complaints(name)
        finally:
            loader.finish()
            asker.finish()
            self._fill(loader, asker)

    def _one(self, name: str, code: Code, loader: Loader) -> Event:
        process, errors, start_s = self._fleet.members[name], loader.errors.total(), time.monotonic()
        self._note_complaints(name)
        try:
            status = process.stop(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{name} did not end within {error.timeout:g} s of SIGTERM") from error
        if status:
            raise BenchError(f"{name} ended with status {status} after SIGTERM\n{self._fleet.log_end()}")
        process.start(code.python, **code.variables)
        self.wait_until_ready([name])
        return Event(
            f"{name} becomes {code.name}",
            round(start_s - self._began_s, 1),
            round(time.monotonic() - start_s, 1),
            round(loader.interrupted_until_s(start_s) - start_s, 1),
            loader.errors.total() - errors,
        )

    def _settle(self, seconds: float, loader: Loader) -> None:
        """Waits so long. Raises: BenchError if the load has failed, or a process has ended"""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            if loader.broken:
                raise BenchError(f"the loader failed: {loader.broken!r}")
            if ended := [name for name, process in self._fleet.members.items() if process.ended]:
                raise BenchError(f"{ended[0]} has ended by itself\n{self._fleet.log_end()}")
            time.sleep(POLL_S)

    def _note_complaints(self, name: str) -> None:
        client = self._fleet.members[name].client()
        for metric in COMPLAINTS:
            if count := client.metric(metric):
                self._report.complaints.append(f"{name}: {metric} {count:g}")

    def _fill(self, loader: Loader, asker: Asker) -> None:
        report = self._report
        self._errors += loader.errors
        self._refused += asker.refused
        self._wrong_refusals += asker.wrong_refusals
        report.errors, report.refused = dict(self._errors), dict(self._refused)
        report.wrong_refusals = dict(self._wrong_refusals)
        report.meanwhile += asker.found
        report.late += asker.late
        report.rejected += loader.rejected_spans
        report.ack_ms = loader.ack_ms()
        report.acknowledged, report.requests = self._ledger.spans(ACKNOWLEDGED), self._ledger.requests(ACKNOWLEDGED)
        report.unknown, report.unknown_requests = self._ledger.spans(UNKNOWN), self._ledger.requests(UNKNOWN)
        report.load_s = round(time.monotonic() - self._began_s, 1)
