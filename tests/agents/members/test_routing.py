"""Which live store is asked for a partition."""

from agents.members.directory import MemberDirectory, MemberTimes
from agents.members.member import MemberState
from agents.members.record import encode
from agents.members.routing import best_member, members_of
from tests.helpers.members import member


def test_the_one_that_is_further_along():
    """Of both zones; equal ones in a stable order; none that leaves, is silent, or is no live store."""
    directory = MemberDirectory(MemberTimes(10, 60), step_s=3)
    found = [
        member("a", zone="a", ends={0: 10, 1: 5}),
        member("b", zone="b", ends={0: 12, 1: 5}),
        member("leaves", ends={0: 99, 1: 99}, state=MemberState.LEAVING),
        member("other", ends={0: 99}, targets=frozenset({"querier"})),
    ]
    directory.take(b"silent", encode(member("silent", ends={0: 99})), 0)
    for one in found:
        directory.take(one.member_id.encode(), encode(one), 20_000)
    assert [one.member_id for one in members_of(directory, 0)] == ["b", "a"]
    assert [one.member_id for one in members_of(directory, 1)] == ["a", "b"]
    assert best_member(directory, 1).member_id == "a"
    assert best_member(directory, 2) is None
