"""The documents on TraceQL that language models read: short, and with examples that are tested."""

from importlib.resources import files
from typing import Final

# name → what it is about
GUIDES: Final = {
    "basic": "filters: attributes, intrinsics, operators, types",
    "aggregates": "aggregates and pipelines within a trace: count, avg, by, select",
    "structural": "parents, children, ancestors, siblings",
    "metrics": "rates, counts, quantiles and comparisons over time",
}
URI: Final = "docs://traceql/"


def guide(name: str) -> str:
    """The text of one of GUIDES."""
    return files("app.api.mcp").joinpath("docs", f"{name}.md").read_text(encoding="utf-8")
