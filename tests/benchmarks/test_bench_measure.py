"""TenantStats are read from where the kernel, the worker and the disk say them."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import measure
from benchmarks.__main__ import peaks, used_cpu_s
from benchmarks.measure import Process
from tests.harness.cluster import BenchError


def test_own_process_is_seen():
    """CPU time and peak memory of this process agree with what it knows of itself."""
    me = next(one for one in measure.processes(os.getpid()) if one.pid == os.getpid())
    used = os.times()
    assert me.name == "supervisor"
    assert me.cpu_s == pytest.approx(used.user + used.system, abs=0.5)
    assert 5e6 < me.peak_bytes < 20e9


def test_children_of_children():
    """All descendants are found, and gone when they have ended."""
    nap = "import time; time.sleep(60)"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {nap!r}, 'worker'])"
    child = subprocess.Popen([sys.executable, "-c", inner, "kafka.Kafka"])
    try:
        deadline_s = time.monotonic() + 20
        while len(family := measure.processes(child.pid)) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert {one.name for one in family} == {"supervisor", "worker"}
        os.kill(next(one.pid for one in family if one.name == "worker"), 9)
    finally:
        child.kill()
        child.wait()
    assert measure.processes(child.pid) == []


@pytest.mark.parametrize(
    ("command", "name"),
    [
        pytest.param(["/jre/bin/java", "-Xmx256m", "kafka.Kafka", "server.properties"], "kafka", id="broker"),
        pytest.param(["python", "/x/bin/faust", "-A", "app", "worker", "-l", "info"], "worker", id="faust"),
        pytest.param(["/usr/bin/env"], "env", id="anything else"),
    ],
)
def test_process_name(command, name):
    """The command line tells what a process is."""
    assert measure.process_name(command) == name


def test_stat_of_a_name_with_spaces(tmp_path):
    """Fields are counted from behind the command's name, which may hold anything."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) b) S 1 2 3")
    assert measure.stat(7, tmp_path) == ["S", "1", "2", "3"]
    assert measure.stat(8, tmp_path) is None


def test_sample_sums():
    """Counters are summed over their labels; what else is there does not disturb."""
    text = """# TYPE stretto_spans_received counter
stretto_spans_received_total{tenant="a"} 3.0
stretto_spans_received_total{tenant="b"} 4.0
# TYPE stretto_spans_received_created gauge
stretto_spans_received_created{tenant="a"} 1.8e9
# TYPE other gauge
other 1.5
"""
    sums = measure.sample_sums(text)
    assert sums[measure.RECEIVED] == 7
    assert sums["other"] == 1.5


def test_sizes(tmp_path):
    """Only the topic's log segments and the blocks' Parquet files count."""
    files = {
        "kafka/spans-0/00000000000000000000.log": 10,
        "kafka/spans-11/00000000000000000500.log": 5,
        "kafka/spans-0/00000000000000000000.index": 1_000,
        "kafka/otlp_spans-0/00000000000000000000.log": 1_000,
        "kafka/server.log": 1_000,
        "rocksdb/spans-0/000012.log": 1_000,
        "blocks/single-tenant/1/data.parquet": 7,
        "blocks/single-tenant/1/meta.json": 1_000,
    }
    for name, size in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert measure.kafka_bytes(tmp_path) == 15
    assert measure.parquet_bytes(tmp_path) == 7


def test_cpu_between_snapshots():
    """Time is taken by process, new processes count whole, names are added up."""
    started = [Process(1, "worker", 10.0, 5), Process(2, "kafka", 1.0, 6)]
    ended = [Process(1, "worker", 12.5, 7), Process(2, "kafka", 1.25, 8), Process(3, "worker", 0.5, 9)]
    assert used_cpu_s(started, ended) == {"worker": 3.0, "kafka": 0.25}
    assert peaks(ended) == {"worker": 16, "kafka": 8}


def test_a_replaced_process_spoils_the_measurement():
    """A worker that was restarted took its CPU time with it: better no figure than a wrong one."""
    with pytest.raises(BenchError, match="worker"):
        used_cpu_s([Process(1, "worker", 10.0, 5)], [Process(2, "worker", 1.0, 5)])
