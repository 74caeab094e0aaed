"""Ingestion rates: a bucket of bytes for each tenant."""

import pytest

from agents.distributor.limits import LimitExceeded, TenantLimits
from agents.distributor.rate_limits import RateLimits
from tests.helpers.receiving.limits import FixedLimits


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def rates(clock, **limits):
    return RateLimits(FixedLimits({"a": TenantLimits(**limits)}), clock)


def test_rate_and_burst(clock):
    """The burst at once, then the rate; another tenant is not concerned."""
    limited = rates(clock, rate_bytes=100, burst_bytes=300)
    limited.take("a", 300)
    for _ in range(50):
        limited.take("b", 1_000_000)
    with pytest.raises(LimitExceeded, match=r"tenant a may send 100 bytes a second and 300 at once.*200 bytes") as err:
        limited.take("a", 200)
    assert (err.value.retry_after_s, err.value.final) == (2, False)
    clock.now_s = 2.0
    limited.take("a", 200)
    with pytest.raises(LimitExceeded):
        limited.take("a", 1)


def test_what_is_refused_costs_nothing(clock):
    """A client that goes on sending what is too much gets through when its time has come."""
    limited = rates(clock, rate_bytes=100)
    limited.take("a", 100)
    for _ in range(10):
        clock.now_s += 0.05
        with pytest.raises(LimitExceeded):
            limited.take("a", 60)
    clock.now_s += 0.11
    limited.take("a", 60)


def test_a_request_larger_than_the_burst(clock):
    """Is never taken, so that its client must not send it again."""
    with pytest.raises(LimitExceeded, match="never taken") as err:
        rates(clock, rate_bytes=100, burst_bytes=300).take("a", 301)
    assert err.value.final


def test_no_hint_where_the_tenant_has_none(clock):
    """`retry_info_enabled: false`."""
    limited = rates(clock, rate_bytes=100, retry_info=False)
    limited.take("a", 100)
    with pytest.raises(LimitExceeded) as err:
        limited.take("a", 1)
    assert err.value.retry_after_s is None
