"""The plan: windows, levels, limits; and a month of flushes, merged as planned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.compactor.plan import CompactionRules, columns_of, expired, plan_merges, windows_of
from tests.helpers.blocks.compaction_simulation import DAY_MS, HOUR_MS, MINUTE_MS, Simulation
from tests.helpers.examples import examples

DEFAULTS = CompactionRules(windows_of(3600, 14 * 86_400), 10 * MINUTE_MS, 5 << 30)
NOON_MS = 20_000 * DAY_MS + 12 * HOUR_MS


def block(name, newest_ms, size=1000, level=0, place=0, offset=None):
    return (name, place, newest_ms, newest_ms if offset is None else offset, size, level)


def names(rows, rules=DEFAULTS, now_ms=NOON_MS, busy=()):
    columns = columns_of(rows)
    return [[columns.ids[row] for row in merge] for merge in plan_merges(columns, rules, now_ms, busy)]


@pytest.mark.parametrize(
    ("first_s", "retention_s", "hours"),
    [
        (3600, 14 * 86_400, (1, 4, 24)),
        (3600, 365 * 86_400, (1, 4, 24, 168, 672)),
        (3600, 60 * 86_400, (1, 4, 24, 168)),
        (3600, 32 * 3600, (1, 4)),
        (3600, 8 * 3600, (1,)),
        (3600, 4 * 3600, (0.5,)),  # an eighth of the retention, however long the window should be
        (7200, 14 * 86_400, (2, 8)),  # 48 h are more than 42
    ],
)
def test_windows(first_s, retention_s, hours) -> None:
    found = windows_of(first_s, retention_s)
    assert [window.length_ms for window in found] == [int(one * HOUR_MS) for one in hours]
    assert [number for number, window in enumerate(found) if window.input_bytes_max] == [1] * (len(hours) > 1)


SMALL = 256 << 10
LAST_HOUR = [block(f"b{n}", NOON_MS - HOUR_MS + n * 5 * MINUTE_MS) for n in range(12)]


@pytest.mark.parametrize(
    ("rows", "now_ms", "busy", "expected"),
    [
        pytest.param([], NOON_MS, (), [], id="nothing"),
        pytest.param(LAST_HOUR, NOON_MS + 9 * MINUTE_MS, (), [], id="its last block may not be flushed yet"),
        pytest.param(LAST_HOUR, NOON_MS + 10 * MINUTE_MS, (), [[f"b{n}" for n in range(12)]], id="the window is over"),
        pytest.param(LAST_HOUR, NOON_MS + 10 * MINUTE_MS, {"b3"}, [], id="one of it is being merged"),
        pytest.param(LAST_HOUR[:1], NOON_MS + HOUR_MS, (), [], id="one block is as it should be"),
        pytest.param(
            [block("a", NOON_MS - 1, 5 << 30), *LAST_HOUR[:2]],
            NOON_MS + HOUR_MS,
            (),
            [["b0", "b1"]],
            id="large enough already",
        ),
        pytest.param(
            [block("a", NOON_MS - 3 * HOUR_MS), block("b", NOON_MS - 2 * HOUR_MS)],
            NOON_MS,
            (),
            [],
            id="two hours of four that are not over",
        ),
        pytest.param(
            [block("a", NOON_MS - 4 * HOUR_MS), block("b", NOON_MS - 2 * HOUR_MS), *LAST_HOUR[:2]],
            NOON_MS + 10 * MINUTE_MS,
            (),
            [["a", "b", "b0", "b1"]],
            id="small blocks of four hours that are over",
        ),
        pytest.param(
            [block("a", NOON_MS - 4 * HOUR_MS, SMALL + 1), block("b", NOON_MS - 2 * HOUR_MS), block("c", NOON_MS - 1)],
            NOON_MS + 10 * MINUTE_MS,
            (),
            [["b", "c"]],
            id="of four hours only the small ones",
        ),
        pytest.param(
            [block("a", NOON_MS - 4 * HOUR_MS, SMALL), block("b", NOON_MS - 5 * HOUR_MS, SMALL)],
            NOON_MS + 10 * MINUTE_MS,
            (),
            [],
            id="two times four hours of a day that is not over",
        ),
        pytest.param(
            [block("a", NOON_MS - 27 * HOUR_MS), block("b", NOON_MS - 26 * HOUR_MS)],
            NOON_MS,
            (),
            [["a", "b"]],
            id="two hours of yesterday",
        ),
        pytest.param(
            [block("a", NOON_MS - 27 * HOUR_MS), block("b", NOON_MS - 27 * HOUR_MS + 1, place=1)],
            NOON_MS,
            (),
            [],
            id="two partitions",
        ),
        pytest.param(
            [block(f"b{n}", NOON_MS + n) for n in range(16)],
            NOON_MS + MINUTE_MS,
            (),
            [[f"b{n}" for n in range(16)]],
            id="sixteen of this hour",
        ),
        pytest.param([block(f"b{n}", NOON_MS + n) for n in range(15)], NOON_MS + MINUTE_MS, (), [], id="fifteen"),
        pytest.param(
            [block(f"b{n}", NOON_MS + n) for n in range(17)],
            NOON_MS + MINUTE_MS,
            {"b1"},
            [["b0", *(f"b{n}" for n in range(2, 17))]],
            id="sixteen of this hour, and one that is being merged",
        ),
        pytest.param(
            [block(f"b{n}", NOON_MS + n, level=n % 2) for n in range(30)], NOON_MS + MINUTE_MS, (), [], id="two levels"
        ),
        pytest.param(
            [block(f"b{n}", NOON_MS + n * 1000 * DAY_MS) for n in range(1, 17)],
            NOON_MS,
            (),
            [[f"b{n}" for n in range(1, 17)]],
            id="the future of wrong clocks is one window",
        ),
        pytest.param(
            [block("big", NOON_MS - 27 * HOUR_MS, 100_000, level=5), block("late", NOON_MS - 26 * HOUR_MS)],
            NOON_MS,
            (),
            [],
            id="a late block is not worth writing a large one again",
        ),
        pytest.param(
            [block("big", NOON_MS - 27 * HOUR_MS, 100_000, level=4), block("late", NOON_MS - 26 * HOUR_MS)],
            NOON_MS,
            (),
            [["big", "late"]],
            id="but the first ones are",
        ),
        pytest.param(
            [
                block("big", NOON_MS - 27 * HOUR_MS, 100_000, level=9),
                *(block(f"b{n}", NOON_MS - 26 * HOUR_MS + n) for n in range(16)),
            ],
            NOON_MS,
            (),
            [[f"b{n}" for n in range(16)]],
            id="late blocks are merged with each other",
        ),
        pytest.param(
            [
                block("big", NOON_MS - 27 * HOUR_MS, 100_000, level=9),
                block("late", NOON_MS - 26 * HOUR_MS, 50_000, level=2),
            ],
            NOON_MS,
            (),
            [["big", "late"]],
            id="half as large",
        ),
        pytest.param(
            [block("b", NOON_MS - 27 * HOUR_MS, offset=2), block("a", NOON_MS - 26 * HOUR_MS, offset=1)],
            NOON_MS,
            (),
            [["a", "b"]],
            id="inputs are in the order of their offsets",
        ),
    ],
)
def test_plan(rows, now_ms, busy, expected) -> None:
    assert names(rows, now_ms=now_ms, busy=busy) == expected


def test_no_merge_is_too_large() -> None:
    """By the number of its inputs, and by their bytes."""
    many = [block(f"b{n}", NOON_MS - 26 * HOUR_MS + n) for n in range(130)]
    assert [len(merge) for merge in names(many)] == [44, 43, 43]
    large = [block(f"b{n}", NOON_MS - 26 * HOUR_MS + n, size) for n, size in enumerate([3, 1, 2, 3, 1])]
    assert names(large, CompactionRules(DEFAULTS.windows, 0, 4)) == [["b0", "b1"], ["b3", "b4"]]


def test_expired() -> None:
    rows = columns_of([block("a", 10), block("b", 20), block("c", 30)])
    assert expired(rows, 20).tolist() == [0]


# ---- what a month of it makes


@pytest.mark.parametrize(
    ("retention_days", "flush_bytes", "most", "amplification"),
    # Blocks of this hour and the last, of today's hours, and of each longer window; the flush itself is not counted.
    [
        (14, 9_000, 12 + 2 + 4 + 6 + 15, 3.0),
        (365, 9_000, 12 + 2 + 4 + 6 + 7 + 4 + 2, 5.0),
        (14, 40_000, 12 + 2 + 24 + 15, 2.0),
        (365, 40_000, 12 + 2 + 24 + 7 + 4 + 2, 4.0),
    ],
)
def test_a_month_of_flushes(retention_days, flush_bytes, most, amplification) -> None:
    """Every five minutes, 30 days, 2 partitions: an hour of them is small, or is not."""
    rules = CompactionRules(windows_of(3600, retention_days * 86_400), 10 * MINUTE_MS, 5 << 30)
    run = Simulation(rules, retention_ms=retention_days * DAY_MS)
    begin_ms = 20_000 * DAY_MS
    for step in range(30 * 288):
        now_ms = begin_ms + step * 5 * MINUTE_MS
        for place in range(2):
            run.flush(place, now_ms - place * 1000, flush_bytes + step % 7 * 500)
        if step % 3 == 0:  # a compactor that is slow
            run.compact(now_ms)
    assert run.most <= most
    assert run.amplification <= amplification


def test_fifty_tenants() -> None:
    """Two days, 4 partitions of each: many places in one call are planned as each alone."""
    run = Simulation(DEFAULTS)
    begin_ms = 20_000 * DAY_MS
    for step in range(2 * 288):
        for place in range(200):
            run.flush(place, begin_ms + step * 5 * MINUTE_MS + place, 700 + place)
        if step % 24 == 0:
            run.compact(begin_ms + step * 5 * MINUTE_MS)
    run.compact(begin_ms + 2 * DAY_MS + HOUR_MS)
    assert len(run.blocks) == 2 * 200
    assert run.amplification <= 3


def test_three_thousand_flushes_within_an_hour() -> None:
    run = Simulation(DEFAULTS)
    for number in range(3000):
        now_ms = NOON_MS + number * HOUR_MS // 3000
        run.flush(0, now_ms, 8000)
        if number % 25 == 0:  # the cycle is 30 s
            run.compact(now_ms)
    assert run.most <= 3 * 15 + 25
    run.compact(NOON_MS + HOUR_MS + 10 * MINUTE_MS)
    assert len(run.blocks) == 1
    assert run.amplification <= 4


def test_a_backlog_is_merged_at_once() -> None:
    """A month without a compactor: a day's flushes become one block in two steps, without the hours between."""
    run = Simulation(DEFAULTS, retention_ms=60 * DAY_MS)
    for step in range(30 * 288):
        run.flush(0, 20_000 * DAY_MS + step * 5 * MINUTE_MS, 8000)
    run.compact(20_030 * DAY_MS + HOUR_MS)
    assert len(run.blocks) == 30
    assert run.amplification <= 2


@settings(max_examples=examples(8), deadline=None)
@given(st.data())
def test_wrong_clocks_and_late_blocks_do_no_harm(data) -> None:
    """Times that have nothing to do with the clock: few blocks are left, and little is written twice."""
    run = Simulation(DEFAULTS)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread_ms = data.draw(st.sampled_from([MINUTE_MS, HOUR_MS, DAY_MS, 10 * DAY_MS, 4000 * DAY_MS]))
    every = data.draw(st.integers(1, 40))
    begin_ms = 20_000 * DAY_MS + data.draw(st.integers(0, DAY_MS))
    for step in range(1500):
        now_ms = begin_ms + step * 5 * MINUTE_MS
        shift = int(random.integers(-spread_ms, spread_ms + 1))
        run.flush(int(random.integers(0, 2)), max(0, now_ms + shift), int(random.integers(1, 20_000)))
        if step % every == 0:
            run.compact(now_ms)
    run.compact(begin_ms + 1500 * 5 * MINUTE_MS)
    # 14 days, the hours of today and of what is ahead, and up to 15 of each of a few levels that are late
    assert run.most <= 14 * (1 + 15) + 48 + 45 + every
    assert run.amplification <= 6


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-(5 * DAY_MS), 2 * HOUR_MS), st.integers(1, 200), st.integers(0, 4)),
        max_size=80,
    ),
    st.data(),
)
def test_every_plan_is_sound(raw, data) -> None:
    """No block twice, none that is busy or too large, one place each, within one window."""
    rows = [block(f"b{n}", NOON_MS + at, size, level, place, n) for n, (place, at, size, level) in enumerate(raw)]
    busy = set(data.draw(st.lists(st.sampled_from([row[0] for row in rows] or ["x"]))))
    rules = CompactionRules(DEFAULTS.windows, 10 * MINUTE_MS, 150, inputs_min=3, inputs_max=5)
    columns = columns_of(rows)
    merges = plan_merges(columns, rules, NOON_MS, busy)
    seen = [row for merge in merges for row in merge.tolist()]
    assert len(seen) == len(set(seen))
    for merge in merges:
        assert 2 <= len(merge) <= 5
        assert columns.size_bytes[merge].sum() <= 150
        assert len(set(columns.places[merge].tolist())) == 1
        assert busy.isdisjoint(columns.ids[row] for row in merge)
        times = columns.newest_ms[merge]
        future = bool((times > NOON_MS + HOUR_MS).all())
        assert future or len(set((times // rules.windows[-1].length_ms).tolist())) == 1
