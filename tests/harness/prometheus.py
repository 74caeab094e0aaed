"""A real Prometheus that takes remote write, for one test module: started, asked, killed, started again."""

import json
import math
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.harness.ending import end
from tests.harness.ports import own_port
from tests.helpers.files import ROOT
from tests.helpers.missing import skip_or_fail

# Where .ci/run puts it on a machine that has none.
OWN = ROOT / "build" / "prometheus" / "usr" / "bin"
READY_S, STOP_S = 30.0, 20.0
FLAGS = (
    "--web.enable-remote-write-receiver",
    "--enable-feature=native-histograms,exemplar-storage",
    # Hours of samples in minutes are not what is tested; nothing of a test's data is ever to be compacted away.
    "--storage.tsdb.retention.time=15d",
    "--log.level=warn",
)
# What is shipped.
FOLDER = ROOT / "docker" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
_RECORDED = re.compile(r"\b\w+:\w+(?::\w+)?")

Rule = dict[str, Any]
Labels = tuple[str, ...]
Sample = tuple[float, float]  # unix seconds, value


def program(name: str) -> str:
    """The path of prometheus or promtool. Without them the test is skipped; in CI (variable CI is set) it fails."""
    found = shutil.which(name) or shutil.which(name, path=str(OWN))
    if found is None:
        skip_or_fail(f"{name} is not there: apt-get install prometheus (Debian, Ubuntu), or let .ci/run fetch it")
    return found


def rules() -> list[Rule]:
    """All shipped rules."""
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def unrolled(promql: str) -> str:
    """A rule's expression with recorded series replaced by what they are recorded from."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    while (plain := _RECORDED.sub(lambda found: f"({recorded[found[0]]})", promql)) != promql:
        promql = plain
    return promql


class Prometheus:
    """As a context manager: ready inside, stopped outside. Data and port outlive `kill` and `start`."""

    def __init__(self, folder: Path, scraped: Sequence[str] = (), flags: Sequence[str] = FLAGS) -> None:
        """`folder` exists. scraped: host:port of job stretto. flags: of the command line

        Skips the test where Prometheus is not installed.
        """
        self._program = program("prometheus")
        self._folder, self._flags = folder, flags
        self._config = {
            "global": {"scrape_interval": "1s"},
            "storage": {"exemplars": {"max_exemplars": 100_000}},
            "scrape_configs": [{"job_name": "stretto", "static_configs": [{"targets": list(scraped)}]}],
        }
        self._address = f"127.0.0.1:{own_port()}"
        self.url = f"http://{self._address}"
        self.write_url = f"{self.url}/api/v1/write"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)

    def start(self) -> None:
        """Returns when it is ready."""
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config))
        command = [
            self._program,
            *self._flags,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline_s = time.monotonic() + READY_S
        while not self._ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                self._end(signal.SIGKILL)
                why = "ended" if ended else f"is not ready after {READY_S:g} s"
                pytest.fail(f"Prometheus {why}: {self.log()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9: what it had accepted is in its write-ahead log, or lost."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What it complained of."""
        return (self._folder / "prometheus.log").read_text(errors="replace")

    # ---- asking

    def get(self, path: str, **params: Any) -> Any:
        """The `data` of an answer. Raises OSError where nothing listens; a refused query fails the test."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(params, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.loads(reply.read())["data"]
        except urllib.error.HTTPError as err:
            return pytest.fail(f"{path} {params}: {err.code} {err.read().decode(errors='replace')}")

    def query(self, promql: str, at_s: float | None = None) -> list[tuple[dict[str, str], float]]:
        """An instant query's vector: labels and value."""
        times = {} if at_s is None else {"time": f"{at_s:.3f}"}
        found = self.get("query", query=promql, **times)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found if "value" in one]

    def by(self, promql: str, *labels: str, at_s: float | None = None) -> dict[Labels, float]:
        """An instant query's values by some of the labels, "" for an absent one. They must tell the series apart."""
        out: dict[Labels, float] = {}
        for metric, value in self.query(promql, at_s):
            key = tuple(metric.get(label, "") for label in labels)
            assert key not in out, f"{promql}: {key} is there twice"
            out[key] = value
        return out

    def total(self, promql: str, at_s: float | None = None) -> float:
        """The sum of an instant query's values; 0 without any."""
        return math.fsum(value for _, value in self.query(promql, at_s))

    def samples(self, selector: str, window: str = "1h", at_s: float | None = None) -> list[list[Sample]]:
        """Each series' samples, as they were written."""
        times = {} if at_s is None else {"time": f"{at_s:.3f}"}
        found = self.get("query", query=f"{selector}[{window}]", **times)["result"]
        return [[(time_s, float(value)) for time_s, value in one["values"]] for one in found]

    def last_push_s(self, metric: str) -> float:
        """When a metric's youngest sample was made. There `increase()` has nothing to extrapolate: it is exact."""
        return max(value for _, value in self.query(f"timestamp({metric})"))

    # ---- process

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            end(process, STOP_S, how)
