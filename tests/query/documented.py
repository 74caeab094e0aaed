"""The queries of docs/traceql.md."""

import re

from tests.helpers.files import ROOT

DOC = (ROOT / "docs" / "traceql.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    """The queries of the document's blocks, which empty lines part."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return [query for block in blocks for query in re.split(r"\n\s*\n", block.strip())]
