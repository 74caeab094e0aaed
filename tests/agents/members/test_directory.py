"""Who is there, by the records of the topic alone."""

import pytest

from agents.members.directory import UNREADABLE, MemberDirectory, MemberTimes
from agents.members.member import MemberState
from agents.members.record import encode
from tests.helpers.querying.members import member

TIMES = MemberTimes(timeout_s=10, forget_s=60)
START_MS = 1_795_259_580_000


class Topic:
    """Records at seconds after the start, by the broker's clock."""

    def __init__(self, directory: MemberDirectory) -> None:
        self.directory = directory

    def beat(self, at_s: float, *names: str, **changes) -> None:
        for name in names:
            value = encode(member(name, **changes))
            self.directory.take(name.encode(), value, START_MS + round(at_s * 1000))

    def leave(self, at_s: float, name: str) -> None:
        self.directory.take(name.encode(), None, START_MS + round(at_s * 1000))


@pytest.fixture
def topic() -> Topic:
    directory = MemberDirectory(TIMES, step_s=3)
    directory.replayed = True
    return Topic(directory)


def states(topic: Topic) -> dict[str, str]:
    return {one.member_id: one.state.value for one in topic.directory.all()}


def test_silent_ones(topic):
    """Silent for longer than the timeout: shown, not asked. Heard again: asked again. Silent for long: forgotten."""
    for second in range(0, 12, 2):
        topic.beat(second, "a", *(["b"] if second == 0 else []))
    assert states(topic) == {"a": "ACTIVE", "b": "ACTIVE"}
    topic.beat(12, "a")
    assert states(topic) == {"a": "ACTIVE", "b": "UNHEALTHY"}
    assert [one.member_id for one in topic.directory.alive("live-store")] == ["a"]
    topic.beat(13, "b")
    assert states(topic) == {"a": "ACTIVE", "b": "ACTIVE"}
    for second in range(14, 76, 2):
        topic.beat(second, "a")
    assert states(topic) == {"a": "ACTIVE"}
    assert topic.directory.forget() == ["b"]
    assert topic.directory.forget() == []


def test_kafka_away(topic):
    """Nobody can announce itself for an hour. The first who is heard again does not make the others unhealthy."""
    topic.beat(0, "a", "b")
    topic.beat(3600, "a")
    assert states(topic) == {"a": "ACTIVE", "b": "ACTIVE"}


def test_what_the_topic_had_before():
    """At the start of a process, gaps between records are true: whoever died an hour ago is not there."""
    topic = Topic(MemberDirectory(TIMES, step_s=3))
    topic.beat(0, "died long ago")
    topic.beat(3580, "died lately")
    topic.beat(3600, "a")
    topic.directory.replayed = True
    assert states(topic) == {"a": "ACTIVE", "died lately": "UNHEALTHY"}
    assert topic.directory.forget() == ["died long ago"]


def test_a_broker_whose_clock_is_behind(topic):
    """Another broker leads the partition now: its clock does not turn time back."""
    topic.beat(100, "a", "b")
    for second in range(50, 64, 2):
        topic.beat(second, "a")
    assert states(topic) == {"a": "ACTIVE", "b": "UNHEALTHY"}


def test_clocks_of_members_do_not_count(topic):
    """One that is an hour behind is as much there as one that is an hour ahead."""
    hour_ns = 3600 * 10**9
    topic.beat(0, "behind", heartbeat_ns=START_MS * 10**6 - hour_ns)
    topic.beat(1, "ahead", heartbeat_ns=START_MS * 10**6 + hour_ns)
    assert states(topic) == {"ahead": "ACTIVE", "behind": "ACTIVE"}


def test_leaving(topic):
    """One that leaves is shown and not asked, then it is gone."""
    topic.beat(0, "a", "b")
    topic.beat(1, "b", state=MemberState.LEAVING)
    assert [one.member_id for one in topic.directory.alive("live-store")] == ["a"]
    assert states(topic) == {"a": "ACTIVE", "b": "LEAVING"}
    topic.leave(2, "b")
    topic.leave(2, "never there")
    assert states(topic) == {"a": "ACTIVE"}


def test_by_target(topic):
    """Only those that run it, by id."""
    topic.beat(0, "z", "a", targets=frozenset({"querier"}))
    topic.beat(0, "m", targets=frozenset({"compactor"}))
    assert [one.member_id for one in topic.directory.alive("querier")] == ["a", "z"]
    assert topic.directory.get("m") == member("m", targets=frozenset({"compactor"}))
    assert topic.directory.get("nobody") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(b"x", b"not JSON", id="no JSON"),
        pytest.param(b"x", b"[]", id="no object"),
        pytest.param(b"x", b'{"v": 2}', id="a later version"),
        pytest.param(b"x", encode(member("x")).replace(b"ACTIVE", b"ASLEEP"), id="a state that is none"),
        pytest.param(b"x", encode(member("x")).replace(b'"0.1.0"', b"7"), id="a version that is no text"),
        pytest.param(b"x", encode(member("x", version="v" * 5000)), id="a long text"),
        pytest.param(b"\xff", encode(member("x")), id="a key that is no text"),
        pytest.param(None, encode(member("x")), id="no key"),
    ],
)
def test_records_of_others(topic, key, value):
    """What cannot be read is counted, and all else goes on."""
    before = UNREADABLE._value.get()
    topic.directory.take(key, value, START_MS)
    assert UNREADABLE._value.get() == before + 1
    topic.beat(1, "a")
    assert states(topic) == {"a": "ACTIVE"}
