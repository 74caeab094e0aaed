"""A hook of mkdocs: what documents link to beside docs/ becomes part of the site.

The documents link to the architecture, the changelog and example files as they lie in the repository, so that the
links work there. The site has these files below `project/`; a link to a folder leads to its README.md, or is text.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = "docs/"
PROJECT: Final = "project/"
# [text](target#anchor) and ![text](target), but not code.
_LINK: Final = re.compile(r"(`+[^`]+`+)|(\[(?:[^\[\]`]|`[^`]*`|!?\[[^\]]*\]\([^)]*\))*\])\(([^)\s#]+)(#[^)\s]*)?\)")
# One page has the links to the others: what the repository begins with, the site has as its start page.
_START: Final = {"README.md": "docs/index.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents at the root of the repository, the files that pages link to, and those that these link to."""
    waiting = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()]
    known = {f"{DOCS}{file.src_uri}" for file in files}
    for path in sorted(one.name for one in ROOT.glob("*.md") if one.name not in _START):
        known.add(path)
        files.append(File.generated(config, f"{PROJECT}{path}", abs_src_path=str(ROOT / path)))
        waiting.append(path)
    while waiting:
        path = waiting.pop()
        for target in _targets(path):
            if target not in known and (ROOT / target).is_file():
                known.add(target)
                files.append(File.generated(config, f"{PROJECT}{target}", abs_src_path=str(ROOT / target)))
                waiting += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The page with its links as the site has the files."""
    src = page.file.src_uri
    path = src.removeprefix(PROJECT) if src.startswith(PROJECT) else f"{DOCS}{src}"
    return linked(markdown, path)


def linked(markdown: str, path: str) -> str:
    """A document of the repository with the links that it needs as a page of the site. path: its own, from the root."""

    def link(found: re.Match[str]) -> str:
        code, text, target, anchor = found.groups()
        if code or "://" in target or target.startswith("mailto:"):
            return found[0]
        whole = _resolve(path, target)
        if whole is None:
            return found[0]  # mkdocs says that it is not there
        if (ROOT / whole).is_dir():
            return str(text)[1:-1]
        return f"{text}({relpath(_in_site(whole), dirname(_in_site(path)) or '.')}{anchor or ''})"

    return _LINK.sub(link, markdown)


def _targets(path: str) -> list[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    found = [_resolve(path, match[3]) for match in _LINK.finditer(text) if match[3] and "://" not in match[3]]
    return [target for target in found if target]


def _resolve(path: str, target: str) -> str | None:
    """Where a link of a document leads: a file or folder of the repository, or None. A folder's README.md counts."""
    whole = normpath(join(dirname(path), target))
    if whole.startswith("..") or not (ROOT / whole).exists():
        return None
    readme = f"{whole}/README.md"
    whole = readme if (ROOT / readme).is_file() else whole
    return _START.get(whole, whole)


def _in_site(path: str) -> str:
    return path.removeprefix(DOCS) if path.startswith(DOCS) else f"{PROJECT}{path}"
