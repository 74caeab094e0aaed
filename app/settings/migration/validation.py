"""Takes out of a migrated tree what our settings do not accept, until they accept all of it."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from app.settings.base import Section
from app.settings.document import Text
from app.settings.keys import Key, field_at
from app.settings.load import settle
from app.settings.migration.report import Migrated
from app.settings.migration.walk import as_lists
from app.settings.problems import from_validation

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ROUNDS_MAX: Final = 500
# What a variable without a default may stand for; the first that fits is taken.
_STAND_INS: Final = ("placeholder", "http://placeholder", "placeholder:1", "0.0.0.0:1", 1)
_NO_LIMIT: Final[tuple[Any, ...]] = (0, "", "0s", "0")


class Validation:
    """root: the model that must accept the tree. at: where the model's keys are in the tree"""

    def __init__(self, found: Migrated, root: type[Section], at: Key = ()) -> None:
        self._found, self._root, self._at = found, root, at
        self._tried: dict[Key, int] = {}

    def run(self, check: Callable[[Any], object] = lambda _: None) -> None:
        """Takes out what is wrong, and says so. check: of the model that was made. Raises: ValidationError"""
        for _ in range(_ROUNDS_MAX):
            try:
                check(self._root.model_validate(settle(self._trial(), self._root)))
            except ValidationError as failed:
                if not self._mend(failed):
                    raise
            else:
                return
        raise AssertionError("each round takes something out")

    def _subtree(self) -> Any:
        tree: Any = self._found.tree
        for part in self._at:
            tree = tree.get(part, {})
        return tree

    def _trial(self) -> Any:
        """The tree as it would be read: variables are their defaults, or something that may stand for them."""

        def expanded(value: Any, key: Key) -> Any:
            if isinstance(value, dict):
                return {name: expanded(item, (*key, name)) for name, item in value.items()}
            if isinstance(value, list):
                return [expanded(item, (*key, number)) for number, item in enumerate(value)]
            if not isinstance(value, str):
                return value
            if not isinstance(value, Text):
                return value
            if unset(value):
                return _stand_in(key, self._tried.get(key, 0), self._root)
            return Text(_VARIABLE.sub(lambda found: found[2] or "", value.replace("$${", "${")))

        return expanded(as_lists(self._subtree()), ())

    def _mend(self, failed: ValidationError) -> bool:
        """Mends what the first round of errors names. Out: whether anything changed"""
        problems = from_validation(failed, {}, frozenset(), self._root)
        mended = False
        for item, problem in zip(failed.errors(include_url=False), problems, strict=True):
            key: Key = item["loc"]
            keys = [key]
            if item["type"] == "conflict":
                names = (item["ctx"]["key"], item["ctx"]["other"])
                keys = [(*key, *name.split(".")) for name in names]
            if variable := next((one for one in self._variables() if one in keys), None):
                self._tried[variable] = self._tried.get(variable, 0) + 1
                if self._tried[variable] <= len(_STAND_INS) + 1:
                    mended = True
                    continue
            for one in keys:
                value = _at(self._subtree(), one)
                theirs = self._found.remove((*self._at, *one))
                if theirs is None:
                    continue
                _, _, said = str(problem).partition(": ")
                if value in _NO_LIMIT and value is not False:
                    self._found.note(self._found.dropped, theirs, f"0 means none in Tempo; here: {said}")
                else:
                    self._found.note(self._found.manual, theirs, f"cannot be as it is in Tempo: {said}")
                mended = True
                break
        return mended

    def _variables(self) -> list[Key]:
        return [
            key for key, value in _leaves(as_lists(self._subtree()), ()) if isinstance(value, Text) and unset(value)
        ]


def unset(text: str) -> bool:
    """Whether the text has a variable without a default."""
    return any(found[2] is None for found in _VARIABLE.finditer(text.replace("$${", "")))


def _stand_in(key: Key, tried: int, root: type[Section]) -> Any:
    field = field_at(key, root)
    default = None if field is None or field.is_required() else field.default
    options = [*_STAND_INS, default]
    if field is not None and field.annotation in (int, float, bool):
        options = [default, *_STAND_INS]
    return options[min(tried, len(options) - 1)]


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    items: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield key, value
        return
    for name, item in items:
        yield from _leaves(item, (*key, name))


def _at(tree: Any, key: Key) -> Any:
    for part in key:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
