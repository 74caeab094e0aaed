"""The documentation as a site: `make docs` without a warning, and it asks no other host for anything."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tests.helpers.files import ROOT

# What a browser loads by itself. Links that a reader clicks may lead anywhere.
LOADED: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
STYLE_URL: Final = re.compile(r"(?:url\(|@import\s*)[\"']?\s*((?:https?:)?//[^\"')\s]+)")


class LoadedUrls(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(LOADED.get(tag, "")) or ""
        self.found += [url] if re.match(r"(?:https?:)?//", url) else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    documents = {one.with_name("index.html") if one.name == "README.html" else one for one in documents}
    assert {one for one in documents if not (site / one).is_file()} == set()
    assert (site / "project" / "ARCHITECTURE.html").is_file()
    assert (site / "project" / "docker" / "prometheus" / "rules" / "red.yml").is_file()


def test_the_site_asks_no_other_host(site: Path) -> None:
    pages = {path.name: LoadedUrls(path.read_text(encoding="utf-8")).found for path in site.rglob("*.html")}
    assert {name: urls for name, urls in pages.items() if urls} == {}
    styles = {path.name: STYLE_URL.findall(path.read_text(encoding="utf-8")) for path in site.rglob("*.css")}
    assert {name: urls for name, urls in styles.items() if urls} == {}


def test_other_hosts_are_found() -> None:
    page = '<link href="https://fonts.example/x.css"><a href="https://a.example">a</a><script src="//cdn.example/m.js">'
    assert LoadedUrls(page).found == ["https://fonts.example/x.css", "//cdn.example/m.js"]
    assert STYLE_URL.findall("@import 'https://b.example/c.css'; a {src: url(//d.example/e.woff)}") == [
        "https://b.example/c.css",
        "//d.example/e.woff",
    ]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("[a](other.md#part), [b](../NOTES.md#part) and [c](../data/)", True),
        ("[a](othr.md)", False),
        ("[a](other.md#prt)", False),
        ("[a](../NOTES.md#prt)", False),
        ("[a](../NOTE.md)", False),
        ("[a](#nowhere)", False),
        ("![a](picture.svg)", False),
    ],
)
def test_links_that_lead_nowhere_end_it(tmp_path: Path, text: str, good: bool) -> None:
    """In a repository of its own, with our settings."""
    for folder in ("docs", "tools", "data"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "tools" / "site_files.py", tmp_path / "tools")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(settings.replace("images/favicon.svg", "icon.svg"))
    (tmp_path / "docs" / ".nav.yml").write_text("nav: [index.md, other.md, project/NOTES.md]\n")
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Part\n")
    (tmp_path / "NOTES.md").write_text("# Notes\n\n## Part\n")
    config = load_config(str(tmp_path / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site"))
    if good:
        build(config)
        assert "project/NOTES.html#part" in (tmp_path / "site" / "index.html").read_text()
    else:
        with pytest.raises(Abort):
            build(config)


def test_a_page_without_a_place_ends_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "site_files.py", tmp_path / "tools")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "docs" / ".nav.yml").write_text("nav: [index.md]\n")
    for name in ("index.md", "lost.md"):
        (tmp_path / "docs" / name).write_text("# Page\n")
    with pytest.raises(Abort):
        build(load_config(str(tmp_path / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
