"""The generator's benchmark feeds and pushes what it says."""

import pytest

from benchmarks import generator
from benchmarks.workload import Options, write


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    path = tmp_path_factory.mktemp("workload") / "spans.otlp"
    write(Options(spans=1500), path)
    return path


@pytest.mark.parametrize("kind", generator.KINDS)
def test_counting(workload, monkeypatch, kind):
    """A workload makes series and takes time."""
    monkeypatch.setattr(generator, "cached", lambda _: workload)
    found = generator.count(kind, 1500)
    assert found.series > 300
    assert found.us_per_span > 0
    assert found.decode_us_per_span > 0


@pytest.mark.parametrize("kind", generator.KINDS)
def test_pushing(monkeypatch, kind):
    """There are as many series as wanted, and both protocols are tried."""
    monkeypatch.setattr(generator, "SERIES", 200)
    found = generator.push(kind)
    assert 200 <= found.series < 220
    assert all(mb > 0 for mb in found.mb)
    assert found.peak_mb > 10


def test_a_missed_target_is_told(monkeypatch, capsys):
    """The exit status says it, and the last line."""
    monkeypatch.setattr(generator, "cached", lambda _: None)
    answers = {
        generator.count: generator.Counting(9.9, 0.5, 2000),
        generator.push: generator.Pushing(1, (0, 0), (1, 1), 9),
    }
    monkeypatch.setattr(generator, "in_a_process", lambda function, *_: answers[function])
    assert generator.main([]) == 1
    assert capsys.readouterr().out.endswith("a target was missed\n")
    answers[generator.count] = generator.Counting(1.0, 0.5, 2000)
    assert generator.main([]) == 0
