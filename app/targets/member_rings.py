"""The processes of the cluster, as the topic of members has them, and this one as it is now."""

from agents.members.directory import MemberDirectory
from app.api.status.rings import Membership
from app.targets.own_member import OwnMember

_NOT_READ = "the topic of members is not read yet, or Kafka is away; only this process is shown"


class MemberRings:
    """One for a process; belongs to its event loop. It answers at once, whatever is away."""

    def __init__(self, directory: MemberDirectory, own: OwnMember) -> None:
        self._directory, self._own = directory, own

    def membership(self) -> Membership:
        """The process itself first, then the others, by id."""
        own = self._own.now()
        others = (one for one in self._directory.all() if one.member_id != own.member_id)
        return Membership([own, *others], own.member_id, "" if self._directory.replayed else _NOT_READ)
