"""What stands in for a soak's surroundings: workers with wrong clocks, several brokers, a bucket."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.soak import __main__ as soak
from benchmarks.soak.surroundings import code_of_now, settings
from tests.harness.cluster import Cluster
from tests.harness.other_process import OtherProcess

NOW = "import time; print(time.time(), time.time_ns(), time.monotonic())"


@pytest.mark.parametrize(
    ("clocks", "worker", "ahead_s"),
    [
        pytest.param("0,90", "1", 0, id="the first"),
        pytest.param("0,90", "2", 90, id="the second"),
        pytest.param("0,-3600", "4", -3600, id="from the first again"),
        pytest.param("50", "", 0, id="no worker"),
        pytest.param("", "1", 0, id="no clocks"),
    ],
)
def test_a_worker_with_a_wrong_clock(tmp_path: Path, clocks: str, worker: str, ahead_s: float) -> None:
    """The time of day is wrong, and the time that passes is right."""
    folder = tmp_path / "code"
    variables = code_of_now(folder, clocks) | ({"STRETTO_WORKER": worker} if worker else {})
    assert (folder / "app" / "main.py").exists()
    before_s, monotonic_s = time.time(), time.monotonic()
    reply = subprocess.run([sys.executable, "-c", NOW], env=variables, capture_output=True, text=True, check=True)
    seconds, nanoseconds, passed_s = map(float, reply.stdout.split())
    took_s = time.monotonic() - monotonic_s + 0.1
    assert before_s + ahead_s - 0.1 <= seconds <= before_s + ahead_s + took_s
    assert seconds <= nanoseconds / 1e9 <= before_s + ahead_s + took_s
    assert monotonic_s <= passed_s <= monotonic_s + took_s


def words(*arguments: str) -> set[str]:
    given: argparse.Namespace = soak.parse(list(arguments))
    return set(given.words)


def test_what_happens_by_default() -> None:
    """All that is possible with what there is."""
    assert {"kill-worker", "kill-kafka", "storage"} <= words()
    several = words("--workers", "2", "--brokers", "3", "--bucket")
    assert {"kill-broker", "freeze-broker", "slow-bucket", "bucket-away", "freeze-worker"} <= several
    assert not {"kill-kafka", "storage", "network"} & several
    assert {"network", "storage"} <= words("--network")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--events kill-broker", "kill-broker needs --brokers 3"),
        ("--events slow-bucket", "slow-bucket needs --bucket"),
        ("--events network", "network needs --network"),
        ("--brokers 3 --events kill-kafka", "kill-kafka is not possible with --brokers"),
        ("--bucket --events storage", "storage is not possible with --bucket"),
        ("--network --brokers 3", "do not go together"),
        ("--brokers 0", "must be above 0"),
    ],
)
def test_what_is_not_possible(arguments: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.parse(arguments.split())
    assert problem in capsys.readouterr().err


def test_settings_stay() -> None:
    """What is asked for on the command line goes last."""
    given = soak.parse(["--setting", "compactor.disabled=true", "--workers", "3"])
    found = settings(given)
    assert found["STRETTO_WORKERS"] == "3"
    assert found["STRETTO_COMPACTOR__DISABLED"] == "true"


@pytest.mark.parametrize("elsewhere", [{}, {"KAFKA_URL": "kafka://127.0.0.1:9", "STORAGE_URL": "s3://bucket"}])
def test_a_further_process_goes_where_the_cluster_goes(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    """To Kafka behind a proxy, to several brokers, to a bucket."""
    cluster = Cluster(tmp_path, elsewhere)
    of_its_own = {
        "KAFKA_URL": f"kafka://{cluster.kafka_address}",
        "STORAGE_URL": f"file://{cluster.data_dir / 'blocks'}",
    }
    variables = OtherProcess(cluster, tmp_path, "live-store").environment
    assert {name: variables[name] for name in of_its_own} == (elsewhere or of_its_own)
