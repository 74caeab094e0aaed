"""The settings file: YAML text with ${VARIABLES} → values, and the line of each key.

Variables are expanded in YAML's scalars, after the text is parsed. So a password with a # or a colon cannot change the
file's structure, and a variable in a comment need not be set. To parse text with variables, even where braces have a
meaning ([${A}, ${B}]), the reader first replaces each by a placeholder: a plain word for YAML.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from app.settings.keys import Key, dotted
from app.settings.problems import Location, Problem

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use letters: YAML allows them, nobody writes them
_MARK: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
# In this order: an escape, a variable, a malformed variable, and our placeholders' letters, in case they are used.
# A default may be empty, and holds no braces. Each takes its closing brace along, which may end a mapping.
_TOKEN: Final = re.compile(
    r"(?P<escape>\$\$\{[^${}\n]*\}?)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>(?:(?!\$\{)[^}\n])*))?\}"
    r"|(?P<bad>\$\{(?:\$\{[^{}\n]*\}|[^{}\n])*\}?)"
    rf"|[{_OPEN}{_CLOSE}]"
)
_TAG: Final = "tag:yaml.org,2002:"
_TEXTS: Final = frozenset({"str", "timestamp", "value", "merge"})
_KINDS: Final = frozenset({"map", "seq", "null", "bool", "int", "float"}) | _TEXTS
_OTHER_DEFAULT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=([^${}\n]*)\}")
_SHOWN_MAX: Final = 40  # characters of what is not understood


class Text(str):
    """Text from a variable: the type of its setting decides whether it is a number."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """The content of the file. places: the line of every key; unsure: keys whose value could not be determined"""

    tree: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Location] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unsure: set[Key] = field(default_factory=set)
    readable: bool = True  # False: not YAML; then nothing but `problems` means anything


@dataclass(frozen=True, slots=True)
class _Token:
    match: re.Match[str]
    line: int


def read(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """Parses a settings file. name: its name in errors. Raises nothing; see `Document.problems`"""
    return _Reader(name, environ).read(text)


def read_unexpanded(text: str, name: str) -> Document:
    """As `read`, with variables left as they stand: `Text` is what holds any. Other spellings of a default
    (`${A:=b}`, `${A=b}`) become ours.
    """
    return _Reader(name, None).read(text)


def plain(text: str) -> Any:
    """A text parsed as YAML by itself; the text itself if it is not YAML."""
    try:
        return yaml.load(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, KeyError, RecursionError):  # 2026-13-01, !!bool x, [[[[…
        return text


def _not_understood(text: str) -> str:
    shown = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
    return f"{shown} is not understood; write ${{NAME}} or ${{NAME:-default}}, and $${{ for ${{ itself"


class _Reader:
    def __init__(self, name: str, environ: Mapping[str, str] | None) -> None:
        """environ: None: variables stay as they are"""
        self._document = Document()
        self._name = name
        self._environ = environ
        self._tokens: list[_Token] = []

    def read(self, text: str) -> Document:
        marked = _TOKEN.sub(self._remember, text)
        try:
            loader = yaml.SafeLoader(marked)
            try:
                root = loader.get_single_node()
                self._root(root, loader)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as wrong:
            mark = wrong.problem_mark or wrong.context_mark
            said = ", ".join(part for part in (wrong.context, wrong.problem) if part)
            self._give_up(mark.line + 1 if mark else 1, f"not YAML: {said}")
            for token in self._tokens:  # which may well be the cause
                if bad := token.match["bad"]:
                    self._give_up(token.line, _not_understood(bad))
        except yaml.reader.ReaderError as wrong:
            line = marked.count("\n", 0, wrong.position) + 1
            self._give_up(line, f"not YAML: the character U+{int(wrong.character):04X} is not allowed")
        except RecursionError:
            self._give_up(1, "nested too deeply, or an alias (*) within what it stands for")
        return self._document

    def _remember(self, match: re.Match[str]) -> str:
        self._tokens.append(_Token(match, match.string.count("\n", 0, match.start()) + 1))
        return f"{_OPEN}{len(self._tokens) - 1}{_CLOSE}"

    def _give_up(self, line: int, said: str) -> None:
        # If YAML's error text quotes a placeholder, it means the $ of the file.
        said = said.replace(ascii(_OPEN)[1:-1], "$").replace(_OPEN, "$")
        self._document.readable = False
        self._document.problems.append(Problem(Location(self._name, line), said))

    def _wrong(self, line: int, key: Key, said: str) -> None:
        self._document.unsure.add(key)
        self._document.problems.append(Problem(Location(self._name, line), f"{dotted(key) or 'a key'}: {said}"))

    def _root(self, node: yaml.Node | None, loader: yaml.SafeLoader) -> None:
        if node is None:  # an empty file
            return
        tree = self._value(node, (), loader)
        if isinstance(tree, dict):
            self._document.tree = tree
        elif tree is not None:
            self._give_up(node.start_mark.line + 1, "expected a mapping, as `server:` with keys below it")

    def _value(self, node: yaml.Node, key: Key, loader: yaml.SafeLoader) -> Any:
        if node.tag.removeprefix(_TAG) not in _KINDS:
            self._wrong(node.start_mark.line + 1, key, f"the YAML tag {node.tag} is not used here; remove it")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, loader)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                self._document.places[*key, number] = Location(self._name, item.start_mark.line + 1)
                items.append(self._value(item, (*key, number), loader))
            return items
        assert isinstance(node, yaml.ScalarNode), "there are three kinds of nodes"
        return self._scalar(node, key, loader)

    def _mapping(self, node: yaml.MappingNode, key: Key, loader: yaml.SafeLoader) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._wrong(line, key, "a key must be a plain word")
                continue
            # The text as it stands: `on:` is a key that is called on, not true.
            known = len(self._document.problems)
            name = str(self._expand(name_node.value, key))
            if len(self._document.problems) > known:
                continue
            below = (*key, name)
            if name in lines:
                said = f"{dotted(below)}: the key is there twice, first at line {lines[name]}; remove one"
                self._document.problems.append(Problem(Location(self._name, line), said))
                continue
            lines[name] = line
            self._document.places[below] = Location(self._name, line)
            found[name] = self._value(value_node, below, loader)
        return found

    def _scalar(self, node: yaml.ScalarNode, key: Key, loader: yaml.SafeLoader) -> Any:
        if _MARK.search(node.value):
            return self._expand(node.value, key)
        if node.tag.removeprefix(_TAG) in _TEXTS:
            return node.value
        try:
            return loader.construct_object(node)
        except (ValueError, KeyError):  # `!!int abc`, `!!bool abc`
            return node.value

    def _expand(self, marked: str, key: Key) -> str:
        """`marked` with the values of its variables; `Text` if it has any."""
        if not _MARK.search(marked):
            return marked
        return Text(_MARK.sub(lambda mark: self._token_value(self._tokens[int(mark[1])], key), marked))

    def _token_value(self, token: _Token, key: Key) -> str:
        match = token.match
        if self._environ is None:
            return self._unexpanded(token, key)
        if match["escape"]:
            return match["escape"][1:]
        if match["bad"]:
            self._wrong(token.line, key, _not_understood(match["bad"]))
            return match[0]
        name, default = match["name"], match["default"]
        if not name:  # one of our marks' letters
            return match[0]
        value = self._environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            self._wrong(token.line, key, f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
            return ""
        return value

    def _unexpanded(self, token: _Token, key: Key) -> str:
        match = token.match
        if not match["bad"]:
            return match[0]
        if other := _OTHER_DEFAULT.fullmatch(match["bad"]):
            return f"${{{other[1]}:-{other[2]}}}"
        self._wrong(token.line, key, _not_understood(match["bad"]))
        return ""
