"""Documents say what the code says: tables that are generated, and names of metrics wherever they stand."""

import re
from pathlib import Path

import pytest

from app.settings.schema import schema_text
from tools import tempo_names
from tools.docs import DOCS, GENERATED, SCHEMAS, generated, metrics

ROOT = DOCS.parent
# Where an operator reads a metric's name: prose, alerts, their tests.
WITH_METRICS = [
    *ROOT.glob("*.md"),
    *DOCS.rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "docker/prometheus").rglob("*.yml"),
]
# Where files of the repository are named: prose but for decisions, which tell what was then, and deployments.
WITH_FILES = [
    *ROOT.glob("*.md"),
    *(path for path in DOCS.rglob("*.md") if path.parent.name != "adr"),
    *(ROOT / "docker/compose").rglob("*.yaml"),
    *(ROOT / "docker/systemd").iterdir(),
    ROOT / "docker/compose.yaml",
]
# Files of the repository, as prose names them; "…", "<protocol>" and "*" stand for several.
NAMED = re.compile(r"(?<![\w/.])(?:app|agents|query|tables|tools|tests|benchmarks|docs|docker)/[\w./-]*\w(?![\w<*…{])")
METRIC = re.compile(
    r"\b(?:stretto_[a-z0-9]+_[a-z0-9_]+|tempo_(?:metrics_generator|runtime)_[a-z0-9_]+|tempodb_[a-z0-9_]+)\b"
)
WITHOUT = {one for names in tempo_names.WITHOUT for one in names.split(", ") if "…" not in one}
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


@pytest.mark.parametrize("name", GENERATED)
def test_generated_parts_are_up_to_date(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == generated(text, GENERATED[name]()), "run `make docs`"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == schema_text(SCHEMAS[name]()), "run `make docs`"


def test_a_document_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="where the generated part begins"):
        generated("# Settings\n", "| Setting |\n")


@pytest.mark.parametrize("name", metrics())
def test_every_metric_says_what_it_is(name: str) -> None:
    assert re.fullmatch(r"(stretto|tempo|tempodb)_[a-z0-9_]+", name)
    assert metrics()[name].help.endswith(".")
    assert "|" not in metrics()[name].help


def test_metrics_of_every_package_are_there() -> None:
    """The modules are imported for it, whatever ran before."""
    found = metrics()
    assert {
        "stretto_http_connections",
        "stretto_cache_hits_total",
        "stretto_spans_received_total",
        "stretto_query_memory_bytes",
    } <= set(found)
    assert "process_cpu_seconds_total" not in found


@pytest.mark.parametrize("path", WITH_METRICS, ids=lambda path: str(path.relative_to(ROOT)))
def test_metrics_that_documents_name_exist(path: Path) -> None:
    known = {name + suffix for name in metrics() for suffix in ("", *OF_HISTOGRAMS)}
    if path.name == "metrics.md":
        known |= WITHOUT | {"tempo_metrics_generator_registry_"}
    assert {name for name in METRIC.findall(path.read_text(encoding="utf-8")) if name not in known} == set()


@pytest.mark.parametrize("path", WITH_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(path: Path) -> None:
    named = NAMED.findall(path.read_text(encoding="utf-8"))
    assert sorted({name for name in named if not (ROOT / name).exists()}) == []


def test_whose_name_it_is() -> None:
    """What is listed as our own is there, and what is said to have no counterpart is not."""
    known = set(metrics())
    assert known >= tempo_names.OWN
    assert not WITHOUT & known
