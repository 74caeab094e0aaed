"""A Kafka, and each target in processes of its own, of one revision or of two."""

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.revisions import Code
from tests.harness.brokers import Brokers
from tests.harness.cluster import Cluster
from tests.harness.other_process import OtherProcess

# Targets, and in how many processes: in the order of their update, as docs/upgrades.md tells. The way back is the
# opposite one.
LARGE: Final = {
    "live-store": 2,
    "metrics-generator": 2,
    "querier": 2,
    "query-frontend": 2,
    "compactor": 1,  # nobody waits for it
    "distributor": 2,
}
SMALL: Final = {"live-store": 2, "metrics-generator": 1, "querier,query-frontend,compactor": 1, "distributor": 1}
_FRONTEND: Final = "query-frontend"
_ASK_S: Final = 5.0


class Fleet(Cluster):
    """As a context manager: all is started inside, stopped outside. `http_url` is a query frontend that is ready."""

    def __init__(self, folder: Path, targets: Mapping[str, int], settings: Mapping[str, str]) -> None:
        """folder: exists, for all data and logs. targets: as LARGE. settings: environment variables of all processes"""
        super().__init__(folder, {**settings, "STRETTO_WORKERS": "1"})
        self._targets = {
            f"{joined.partition(',')[0]}-{number}": joined
            for joined, count in targets.items()
            for number in range(1, 1 + count)
        }
        self._stack = ExitStack()
        self.members: dict[str, OtherProcess] = {}  # by name: target and number

    def __enter__(self) -> Self:
        """Starts Kafka; what else runs, `start` starts."""
        (self.data_dir / "blocks").mkdir(parents=True)
        with ExitStack() as undo:
            brokers = undo.enter_context(Brokers(self._folder))
            self.kafka_address, self._process = brokers.addresses[0], brokers.process()
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, where)

    def start(self, code: Code) -> None:
        """All processes, of that code, in the order of their update. Returns before they are ready."""
        for name, targets in self._targets.items():
            process = OtherProcess(self, self._folder, targets, name)
            self._stack.callback(process.kill)
            process.start(code.python, **code.variables)
            self.members[name] = process
        distributors = [one.otlp_address for name, one in self.members.items() if self._runs(name, "distributor")]
        self.otlp_address = f"ipv4:{','.join(distributors)}"  # one after the other, as behind a load balancer

    def order(self) -> list[str]:
        """Names of the processes in the order of their update: the first of their targets, and a number."""
        return list(self._targets)

    def _runs(self, name: str, target: str) -> bool:
        return target in self._targets[name].split(",")

    @property
    def http_url(self) -> str:
        """Of the first query frontend that is ready, as a load balancer chooses; else of the first one."""
        urls = [one.http_url for name, one in self.members.items() if self._runs(name, _FRONTEND)]
        return next((url for url in urls if is_ready(url)), urls[0] if urls else "")

    @http_url.setter
    def http_url(self, _: str) -> None:
        """What `Cluster` makes for a process that does not run here."""

    def log_end(self) -> str:
        """What the processes complained of last."""
        return "\n".join(self._complaints())

    def _complaints(self) -> Iterator[str]:
        for name, process in self.members.items():
            lines = process.log.read_text(errors="replace").splitlines()
            bad = [line for line in lines if "level=error" in line or "Traceback" in line or "ERROR" in line]
            yield from (f"{name}: {line[:300]}" for line in (bad or lines)[-3:])


def is_ready(http_url: str) -> bool:
    """Whether /ready answers 200; False where nothing listens."""
    try:
        with urllib.request.urlopen(f"{http_url}/ready", timeout=_ASK_S) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
