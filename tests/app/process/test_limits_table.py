"""The limits that the distributor sees: of the file as it is now, and its share of what all distributors may take."""

from pathlib import Path

import pytest

from agents.distributor.limits import NO_LIMITS
from app.process.overrides import OverridesFile
from app.process.tenant_limits import LimitsTable, Recent
from app.settings import load


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stretto.yaml").write_text("overrides: {per_tenant_override_config: t.yaml}")

    (tmp_path / "t.yaml").write_text("overrides: {}")
    return OverridesFile(load({}, tmp_path), {})


def change(file, text):
    Path("t.yaml").write_text(f"overrides: {text}")
    file.reload()


def test_nothing_is_limited_until_something_is(file):
    """What concerns only others, such as metrics, is no limit."""
    table = LimitsTable(file)
    assert (table.none(), table.of("a")) == (True, NO_LIMITS)
    change(file, "{a: {metrics_generator: {processors: []}, read: {max_search_duration: 1h}}}")
    assert table.none()
    change(file, "{a: {global: {max_bytes_per_trace: 5}}}")
    assert not table.none()
    assert (table.of("a").trace_bytes_max, table.of("b")) == (5, NO_LIMITS)
    change(file, "{}")
    assert (table.none(), table.of("a")) == (True, NO_LIMITS)


@pytest.mark.parametrize(("strategy", "rate"), [("local", 900), ("global", 300)])
def test_strategies(file, strategy, rate):
    """A global rate is divided by the distributors that are alive, as many as there are now; the burst is not."""
    alive = [3]
    table = LimitsTable(file, lambda: alive[0])
    change(file, f"{{a: {{ingestion: {{rate_strategy: {strategy}, rate_limit_bytes: 900, burst_size_bytes: 90}}}}}}")
    assert (table.of("a").rate_bytes, table.of("a").burst_bytes) == (rate, 90)
    alive[0] = 0  # before this process has heard of itself
    assert table.of("a").rate_bytes == 900


def test_the_number_of_distributors_is_not_counted_for_each_request():
    """Once a second is enough."""
    now, asked = [0.0], []

    def ask():
        asked.append(now[0])
        return len(asked)

    recent = Recent(ask, 1.0, lambda: now[0])
    assert [recent(), recent()] == [1, 1]
    now[0] = 1.0
    assert (recent(), asked) == (2, [0.0, 1.0])
