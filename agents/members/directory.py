"""What a process knows of the members: a state machine over the records of the topic, without clock or Kafka."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from prometheus_client import Counter, Gauge

from agents.limited_log import limited_logger
from agents.members.member import Member, MemberState
from agents.members.record import MemberRecordError, decode

log = limited_logger(__name__)

MEMBERS = Gauge(
    "stretto_members", "Processes of the cluster that this process knows of, by target and state.", ["target", "state"]
)
UNREADABLE = Counter(
    "stretto_members_unreadable_total", "Records of the topic of members that were skipped because they cannot be read."
)
FORGOTTEN = Counter(
    "stretto_members_forgotten_total", "Members that were removed because they were not heard of for too long."
)
RING_MEMBERS = Gauge(
    "tempo_ring_members",
    "Processes by what they run (name) and state, as Tempo's rings write it: ACTIVE, LEAVING, Unhealthy.",
    ["name", "state"],
)
CLUSTER_MEMBERS = Gauge("tempo_memberlist_client_cluster_members_count", "Processes that this process knows of.")
RING_PARTITIONS = Gauge(
    "tempo_partition_ring_partitions",
    "Partitions of topic spans, by state: Active (a healthy live store has it), Inactive. name: livestore-partitions.",
    ["name", "state"],
)
_RING_STATES = {MemberState.UNHEALTHY: "Unhealthy"}
_LIVE_STORE, _PARTITION_RING = "live-store", "livestore-partitions"


@dataclass(frozen=True, slots=True)
class MemberTimes:
    """Seconds without a heartbeat: after timeout_s a member is UNHEALTHY, after forget_s it is gone."""

    timeout_s: float
    forget_s: float


@dataclass(slots=True)
class _Known:
    member: Member
    seen_ms: int  # on the directory's clock


class MemberDirectory:
    """One for a process; belongs to its event loop. It is `members.member.Members`.

    Its clock is the broker's, as the timestamps of records show it: the clocks of other processes do not count. It goes
    on only with records. While Kafka is away nobody can announce itself, and everybody stays as they were. After a
    pause it goes on by one step at most, so that the first who is heard again does not make all others unhealthy.
    """

    def __init__(self, times: MemberTimes, step_s: float, changed: Callable[[], None] | None = None) -> None:
        """step_s: more than the time between two heartbeats. changed: is called after each record"""
        self._timeout_ms, self._forget_ms = round(times.timeout_s * 1000), round(times.forget_s * 1000)
        self._step_ms = round(step_s * 1000)
        self._changed = changed or (lambda: None)
        self._known: dict[str, _Known] = {}
        self._clock_ms = 0
        self._last_ms: int | None = None
        self._all: Sequence[Member] | None = None  # as of the last record; each query asks for it several times
        self._shown_targets: set[str] = set()
        self.replayed = False  # whether everything that the topic had at the start is read

    def take(self, key: bytes | None, value: bytes | None, timestamp_ms: int) -> None:
        """A record of the topic. One that cannot be read is counted and skipped."""
        self._all = None
        self._advance(timestamp_ms)
        try:
            member_id = (key or b"").decode()
            if not member_id:
                raise MemberRecordError("no key")
            if value:
                self._known[member_id] = _Known(decode(member_id, value), self._clock_ms)
            else:
                self._known.pop(member_id, None)
        except (MemberRecordError, UnicodeDecodeError) as err:
            UNREADABLE.inc()
            log.warning("a record of the topic of members is skipped: %s", err)
        self._changed()

    def _advance(self, timestamp_ms: int) -> None:
        if self._last_ms is not None:
            passed_ms = max(0, timestamp_ms - self._last_ms)
            # What the topic had before this process read along says truly how old it is.
            self._clock_ms += min(passed_ms, self._step_ms) if self.replayed else passed_ms
        self._last_ms = timestamp_ms

    def get(self, member_id: str) -> Member | None:
        """One member, with its state as of now."""
        known = self._known.get(member_id)
        return None if known is None else self._as_seen(known)

    def alive(self, target: str) -> Sequence[Member]:
        """The members with this target that are active."""
        return [one for one in self.all() if target in one.targets and one.state is MemberState.ACTIVE]

    def serving(self, target: str) -> Sequence[Member]:
        """The members with this target that answer: also those that are leaving, not those that are silent."""
        return [one for one in self.all() if target in one.targets and one.state is not MemberState.UNHEALTHY]

    def all(self) -> Sequence[Member]:
        """All members that were heard of not too long ago, by id, with their states as of now."""
        if self._all is None:
            kept = (one for one in self._known.values() if self._silent_ms(one) <= self._forget_ms)
            self._all = tuple(sorted((self._as_seen(one) for one in kept), key=attrgetter("member_id")))
        return self._all

    def forget(self) -> list[str]:
        """Drops those that have not been heard of for too long. Returns their ids: one of the others removes them from
        the topic.
        """
        gone = [name for name, one in self._known.items() if self._silent_ms(one) > self._forget_ms]
        for name in gone:
            del self._known[name]
            self._all = None
        FORGOTTEN.inc(len(gone))
        return gone

    def show(self) -> None:
        """Sets the metrics."""
        counts: dict[tuple[str, str], int] = {}
        for one in self.all():
            for target in one.targets:
                counts[target, one.state.value] = counts.get((target, one.state.value), 0) + 1
        MEMBERS.clear()
        for (target, state), count in counts.items():
            MEMBERS.labels(target, state).set(count)
        self._show_rings()

    def _show_rings(self) -> None:
        members = self.all()
        CLUSTER_MEMBERS.set(len(members))
        for target in {name for one in members for name in one.targets} | self._shown_targets:
            for state in MemberState:
                count = sum(target in one.targets and one.state is state for one in members)
                RING_MEMBERS.labels(target, _RING_STATES.get(state, state.value)).set(count)
            self._shown_targets.add(target)
        live = [one for one in members if _LIVE_STORE in one.targets and one.state is MemberState.ACTIVE]
        owned = {number for one in live for number in one.partitions}
        there = max((one.partition_count for one in members), default=0)
        RING_PARTITIONS.labels(_PARTITION_RING, "Active").set(len(owned))
        RING_PARTITIONS.labels(_PARTITION_RING, "Inactive").set(max(0, there - len(owned)))

    def _silent_ms(self, one: _Known) -> int:
        return self._clock_ms - one.seen_ms

    def _as_seen(self, one: _Known) -> Member:
        if self._silent_ms(one) <= self._timeout_ms:
            return one.member
        return replace(one.member, state=MemberState.UNHEALTHY)
