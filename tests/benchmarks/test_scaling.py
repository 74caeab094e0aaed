"""The arithmetic of docs/scaling.md."""

from dataclasses import fields, replace

import pytest

from benchmarks.scaling import RATES, Parameters, main, stretto, tempo

P = Parameters()


@pytest.mark.parametrize("of", [stretto, tempo])
def test_more_spans_cost_more(of):
    """Of everything, and at most in proportion: what is there for availability is there anyway."""
    small, large = of(P, RATES[0]), of(P, RATES[-1])
    for item, usd in small.usd.items():
        assert usd <= large.usd[item] <= 1.001 * usd * RATES[-1] / RATES[0]
    assert all(large.processes[name] >= count for name, count in small.processes.items())
    assert large.brokers > small.brokers >= 3


def test_one_that_can_be_added_up():
    """A million spans a second of live stores in two zones, by hand."""
    p = replace(P, live_store_cpu=3.9, zones=2.0, cores_of_a_process=1.3, target_share=0.6)
    assert stretto(p, 1e6).processes["live-store"] == 2 * 5  # 3.9 cores a zone, 0.78 each
    assert stretto(replace(p, zones=1.0), 1e6).processes["live-store"] == 5
    assert stretto(p, 1e6).partitions == 17


@pytest.mark.parametrize("name", [one.name for one in fields(Parameters)])
def test_every_parameter_counts(name):
    """One that changes nothing is not one."""
    other = replace(P, **{name: 3 * getattr(P, name)})
    assert [of(P, rate) for of in (stretto, tempo) for rate in RATES] != [
        of(other, rate) for of in (stretto, tempo) for rate in RATES
    ]


def test_the_command(capsys):
    """Prints what the document has; refuses what is no parameter."""
    assert main(["--set", "core=0"]) == 0
    assert "| USD a month: cores | 0 | 0 | 0 |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--set", "nonsense=1"])
    with pytest.raises(SystemExit):
        main(["--set", "core=much"])
