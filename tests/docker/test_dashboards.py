"""The dashboards: made from the code, every query is PromQL that a Prometheus understands, every metric exists."""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.harness.prometheus import program
from tests.helpers.files import ROOT
from tools.dashboards.__main__ import FOLDER, path_of, text_of
from tools.dashboards.definitions import DASHBOARDS
from tools.dashboards.panels import Dashboard, to_json

EACH = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=[one.uid for one in DASHBOARDS])
# Of prometheus_client itself, and of Prometheus.
FOREIGN: Final = {
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"),
    "up",
}
METRIC: Final = re.compile(r"\b((?:stretto|tempo|tempodb|process)_\w+|up)\b(?=\{)")


def expressions(dashboard: Dashboard) -> list[str]:
    return [target["expr"] for panel in to_json(dashboard)["panels"] for target in panel.get("targets", [])]


def known_metrics() -> set[str]:
    names = re.findall(r"(?m)^\| `(\w+)` \| (\w+)", (ROOT / "docs" / "metrics.md").read_text())
    found = {name for name, _ in names}
    for name, kind in names:
        if kind == "histogram":
            found |= {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return found | FOREIGN


@EACH
def test_files_are_those_of_the_code(dashboard: Dashboard) -> None:
    assert path_of(dashboard).read_text() == text_of(dashboard), "run python -m tools.dashboards"


def test_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {path_of(one).name for one in DASHBOARDS}


@EACH
def test_every_metric_exists(dashboard: Dashboard) -> None:
    known = known_metrics()
    for expression in expressions(dashboard):
        named = METRIC.findall(expression)
        assert named, expression
        assert set(named) <= known


@EACH
def test_prometheus_understands_every_query(dashboard: Dashboard, tmp_path: Path) -> None:
    rules = [
        {"record": f"test:query:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$", "")}
        for number, expression in enumerate(expressions(dashboard))
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": rules}]}))
    done = subprocess.run([program("promtool"), "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@EACH
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    made = json.loads(text_of(dashboard))
    for panel in made["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])


@EACH
def test_panels_lead_to_runbooks(dashboard: Dashboard) -> None:
    panels = to_json(dashboard)["panels"]
    linked = {link["url"] for panel in panels for link in panel.get("links", [])}
    assert linked
    for url in linked:
        alert = re.fullmatch(r"\$\{runbooks\}/(\w+)/", url)
        assert alert is not None
        assert (ROOT / "docs" / "runbooks" / f"{alert[1]}.md").exists()
