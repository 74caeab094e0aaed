"""A member as a record of the topic."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agents.members.member import Member, MemberState, OffsetRange
from agents.members.record import decode, encode
from tests.helpers.querying.members import MEMBER

NAMES = st.text(max_size=12)
OFFSETS = st.integers(0, 2**63 - 1)
MEMBERS = st.builds(
    Member,
    member_id=NAMES,
    targets=st.frozensets(NAMES, max_size=4),
    address=NAMES,
    zone=NAMES,
    version=NAMES,
    started_ns=OFFSETS,
    heartbeat_ns=OFFSETS,
    state=st.sampled_from(list(MemberState)),
    partitions=st.dictionaries(
        st.integers(0, 10_000), st.builds(OffsetRange, OFFSETS, OFFSETS, OFFSETS, st.none() | OFFSETS), max_size=4
    ),
    services=st.dictionaries(NAMES, NAMES, max_size=3),
    assigned=st.dictionaries(NAMES, st.lists(st.integers(0, 10_000), max_size=3).map(tuple), max_size=3),
    partition_count=st.integers(0, 10_000),
    partitions_written=st.integers(0, 10_000),
    record_counts=st.lists(st.integers(0, 10_000), max_size=3).map(tuple),
)


@given(MEMBERS)
def test_round_trip(member):
    assert decode(member.member_id, encode(member)) == member


def test_a_later_build_adds_fields():
    """They are ignored: builds run side by side while they are exchanged."""
    later = orjson.dumps({**orjson.loads(encode(MEMBER)), "colour": "green"})
    assert decode("one", later) == MEMBER
