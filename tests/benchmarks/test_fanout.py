"""The simulation of the fan-out does what it says."""

from dataclasses import replace

import pytest

from benchmarks.fanout import Options, Simulation, main

SMALL = Options(queriers=20, jobs=20, blocks=200, queries=60, cached_jobs=40, slow_queriers=0, slow_jobs=0)


def run(**changes):
    return Simulation(replace(SMALL, **changes)).run()


def test_every_query_is_answered():
    """Each of those that count, no sooner than its quickest job; the same seed gives the same run."""
    found = run()
    assert len(found.latencies_ms) == 40
    assert found.latencies_ms[0] > SMALL.cold_ms * SMALL.warm_share / 4
    assert found == run()
    assert found != run(seed=2)


def test_hedging_cuts_off_stragglers():
    """One job in twenty is a hundred times too slow: with hedging few queries wait for one."""
    slow = {"slow_jobs": 0.05, "slow_times": 100.0, "load": 0.1, "queriers": 100}
    without, hedged = run(**slow, hedge_ms=None), run(**slow, hedge_ms=200.0)
    assert without.hedges == 0 < hedged.hedges
    assert hedged.at(0.9) < without.at(0.9) / 2
    assert without.extra == 0 < hedged.extra


def test_affinity_keeps_caches_warm():
    """The same block goes to the same querier."""
    many = {"blocks": 4000, "cached_jobs": 30}
    assert run(**many).warm > 2 * run(**many, affinity=False).warm


@pytest.mark.parametrize("load", [0.2, 0.9])
def test_load(load):
    """A busy cluster answers later."""
    assert run(load=load).busy < 1
    assert run(load=0.9).at(0.5) >= run(load=0.2).at(0.5)


def test_table(capsys):
    """A row for each case."""
    assert main(["--queriers", "10", "--jobs", "5", "--queries", "9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
