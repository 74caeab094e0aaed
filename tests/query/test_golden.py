"""testdata/*.test are the specification of what a query answers: paragraphs `load …`, and
`query …` (a search), `range …` or `instant …` (a metrics query).

`pytest tests/query --rewrite` writes what the code answers; read the diff.
"""

from pathlib import Path

import pytest

from tests.query.golden import KINDS, WAYS, answer

FILES = sorted(Path(__file__).parent.glob("testdata/*.test"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, way: str, request: pytest.FixtureRequest) -> None:
    """Each query of the file answers what the file says, on one source and split over several, however they came."""
    want, load, got = path.read_text(), "", []
    for paragraph in want.strip().split("\n\n"):
        lines = paragraph.splitlines()
        head = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        kind, _, query = lines[head].partition(" ")
        if kind in KINDS and query:
            found = answer(load, kind, query.replace("\\n", "\n"), way)
            paragraph = "\n".join([*lines[: head + 1], *(f"  {line}".rstrip() for line in found)])
        else:
            load = "\n".join(lines[head:])
        got.append(paragraph)
    if request.config.getoption("--rewrite") and way == WAYS[0]:
        path.write_text("\n\n".join(got) + "\n")
        return
    assert "\n\n".join(got) + "\n" == want


def test_golden_files_are_there() -> None:
    """An empty glob would make the test above pass without looking at anything."""
    assert len(FILES) >= 8
