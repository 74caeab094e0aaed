"""Which topics the distributor reads, what their messages are, and whose."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from agents.distributor.encodings import ENCODINGS, Translate
from agents.stream.leader_topic import LEADER_TOPIC_END
from tables.errors import WireError
from tables.tenant import valid_tenant

TENANT_HEADER: Final = "X-Scope-OrgID"
_KAFKA_OWN: Final = "__"


@dataclass(frozen=True, slots=True)
class TopicSource:
    """Topics of one encoding. topics, excluded: names, or regular expressions that begin with ^

    tenant: of messages whose header, or key, does not name one; header: in lower case
    """

    topics: Sequence[str]
    encoding: str = "otlp_proto"
    excluded: Sequence[str] = ()
    tenant_from: Literal["header", "key", "setting"] = "header"
    header: str = TENANT_HEADER.lower()
    tenant: str = ""

    @property
    def translate(self) -> Translate | None:
        """Makes OTLP's requests of the messages; None: they are such requests."""
        return ENCODINGS[self.encoding]

    def names(self, topic: str) -> bool:
        """Whether the topic is one of the names."""
        return topic in self.topics and not _matches(self.excluded, topic)

    def matches(self, topic: str) -> bool:
        """Whether one of the names or regular expressions means the topic."""
        return _matches(self.topics, topic) and not _matches(self.excluded, topic)

    def tenant_of(self, message: Any) -> str:
        """Whose the message is. Raises: WireError if the header is duplicate, or what it says is no tenant's name"""
        if self.tenant_from == "setting":
            return self.tenant
        if self.tenant_from == "key":
            return self._named(message.key, "the key") if message.key else self.tenant
        headers = message.headers or ()
        pairs = headers.items() if hasattr(headers, "items") else headers
        values = [value for name, value in pairs if name.lower() == self.header]
        if not values:
            return self.tenant
        if len(values) > 1:
            raise WireError(f"the header {self.header} is there {len(values)} times; send it once", "tenant")
        return self._named(values[0], f"the header {self.header}")

    def _named(self, value: bytes | None, what: str) -> str:
        named = bytes(value or b"").decode(errors="replace")
        if not valid_tenant(named):
            raise WireError(f"{what} {named[:50]!r} is not a tenant's name", "tenant")
        return named


def _matches(topics: Sequence[str], topic: str) -> bool:
    return any(re.fullmatch(one, topic) if one.startswith("^") else one == topic for one in topics)


class TopicSources:
    """All of them. `topics` are those that are read now: what is named, and what was found to match.

    never: topics that no regular expression means: those that Stretto writes
    """

    def __init__(self, sources: Sequence[TopicSource], never: Iterable[str] = ()) -> None:
        self._sources, self._never = sources, frozenset(never)
        self._by_topic: dict[str, TopicSource] = {}
        self.topics = [topic for one in sources for topic in one.topics if not topic.startswith("^")]

    @property
    def has_patterns(self) -> bool:
        """Whether topics may come and go."""
        return any(topic.startswith("^") for one in self._sources for topic in one.topics)

    def source_of(self, topic: str) -> TopicSource:
        """The source of a topic that is read."""
        found = self._by_topic.get(topic)
        if found is None:
            found = self._by_topic[topic] = self._find(topic) or self._sources[0]
        return found

    def found(self, there: Iterable[str]) -> list[str]:
        """What should be read of the topics that are there, besides those that are named: sorted."""
        named = {topic for one in self._sources for topic in one.topics}
        return sorted(
            topic
            for topic in set(there) - named - self._never
            if not topic.startswith(_KAFKA_OWN) and not topic.endswith(LEADER_TOPIC_END) and self._find(topic)
        )

    def _find(self, topic: str) -> TopicSource | None:
        named = (one for one in self._sources if one.names(topic))
        return next(named, None) or next((one for one in self._sources if one.matches(topic)), None)
