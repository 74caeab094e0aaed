"""What a migration made, and what it has to say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.settings.keys import Key, dotted
from app.settings.problems import Location, Problem


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a key of Tempo's file. Never holds a value that may be secret."""

    place: Location | None
    key: Key
    text: str

    def __str__(self) -> str:
        return str(Problem(self.place, f"{dotted(self.key)}: {self.text}" if self.key else self.text))


@dataclass(slots=True)
class Migrated:
    """Our tree, and the notes about Tempo's keys.

    tree: plain values, as YAML has them. changed: what has another name or value here. dropped: what has no counterpart
    and need not have one. manual: what somebody has to look at; it is not in the tree, or may not be right there
    """

    places: Mapping[Key, Location]
    tree: dict[str, Any] = field(default_factory=dict)
    changed: list[Note] = field(default_factory=list)
    dropped: list[Note] = field(default_factory=list)
    manual: list[Note] = field(default_factory=list)
    moved: dict[Key, Key] = field(default_factory=dict)  # our keys, and Tempo's that they come from

    def note(self, notes: list[Note], key: Key, text: str) -> None:
        """Adds a note about a key of Tempo's file."""
        place = next((self.places[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.places), None)
        note = Note(place, key, text)
        if note not in notes:
            notes.append(note)

    def put(self, ours: Key, theirs: Key, value: Any) -> None:
        """Sets one of our keys. Where two of Tempo's keys become one of ours, the first counts."""
        tree: Any = self.tree
        for part in ours[:-1]:
            tree = tree.setdefault(part, {})
        if ours[-1] in tree and tree[ours[-1]] not in ({}, value):
            self.note(self.manual, theirs, f"says otherwise than {dotted(self.moved[ours])}, which counts here")
            return
        if value != {} or ours[-1] not in tree:
            tree[ours[-1]] = value
        self.moved.setdefault(ours, theirs)

    def is_set(self, ours: Key) -> bool:
        """Whether the tree has a value at one of our keys."""
        tree: Any = self.tree
        for part in ours:
            if not isinstance(tree, dict) or part not in tree:
                return False
            tree = tree[part]
        return True

    def remove(self, ours: Key) -> Key | None:
        """Takes a key of ours out, or the section above that is there. Out: Tempo's key that it came from; None: none
        is there
        """
        for end in range(len(ours), 0, -1):
            above, last = ours[: end - 1], ours[end - 1]
            tree: Any = self.tree
            for part in above:
                tree = tree.get(part) if isinstance(tree, dict) else None
            if isinstance(tree, dict) and last in tree:
                del tree[last]
                return next((self.moved[key] for key in self.moved if key[:end] == ours[:end]), ours[:end])
        return None
