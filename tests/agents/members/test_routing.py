"""Which live store is asked for a partition."""

from agents.members.directory import MemberDirectory, MemberTimes
from agents.members.member import MemberState
from agents.members.record import encode
from agents.members.routing import best_member, members_of
from tests.helpers.querying.members import member


def test_the_one_that_is_further_along():
    """Of both zones; equal ones in a stable order, and before one that leaves; none that is silent, or other."""
    directory = MemberDirectory(MemberTimes(10, 60), step_s=3)
    found = [
        member("a", zone="a", ends={0: 10, 1: 5}),
        member("b", zone="b", ends={0: 12, 1: 5}),
        member("about-to-leave", ends={0: 12, 1: 6}, state=MemberState.LEAVING),
        member("other", ends={0: 99}, targets=frozenset({"querier"})),
    ]
    directory.take(b"silent", encode(member("silent", ends={0: 99})), 0)
    for one in found:
        directory.take(one.member_id.encode(), encode(one), 20_000)
    assert [one.member_id for one in members_of(directory, 0)] == ["b", "about-to-leave", "a"]
    assert [one.member_id for one in members_of(directory, 1)] == ["about-to-leave", "a", "b"]
    assert best_member(directory, 1).member_id == "about-to-leave"
    assert best_member(directory, 2) is None
