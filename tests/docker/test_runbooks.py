"""Every alert has a page, every page an alert; a page says the same as the rule; the chart has the same rules."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.files import ROOT
from tools.docs import metrics

FOLDER: Final = ROOT / "docs" / "runbooks"
RULES: Final = sorted((ROOT / "docker" / "prometheus" / "rules").glob("*.yml"))
ALERTS: Final = {
    rule["alert"]: (path.name, rule)
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
PAGES: Final = {path.stem: path for path in FOLDER.glob("*.md") if path.name != "README.md"}
SECTIONS: Final = ["What it means", "Who notices", "How to see it", "What to do", "False alarms"]
CHART: Final = ROOT / "tests" / "docker" / "testdata" / "full.yaml"
EACH = pytest.mark.parametrize("alert", sorted(ALERTS))


def test_alerts_and_pages_are_the_same() -> None:
    assert len(ALERTS) > 60
    assert sorted(PAGES) == sorted(ALERTS)


@EACH
def test_a_page_says_what_the_rule_says(alert: str) -> None:
    name, rule = ALERTS[alert]
    text = PAGES[alert].read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n\nSeverity: {rule['labels']['severity']}. Rule: [{name}](")
    assert f"```promql\n{rule['expr'].strip()}\n```" in text
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    parts = re.split(r"(?m)^## (.*)$", text)
    assert parts[1::2] == SECTIONS
    assert all(len(part.strip()) >= len("None.") for part in parts[2::2])


@EACH
def test_links_of_a_page_lead_somewhere(alert: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGES[alert].read_text(encoding="utf-8")):
        assert (FOLDER / target).resolve().exists(), target


@EACH
def test_metrics_of_a_page_exist(alert: str) -> None:
    known = {name + suffix for name in metrics() for suffix in ("", "_bucket", "_sum", "_count")}
    named = re.findall(r"\b(?:stretto|tempo|tempodb)_[a-z0-9_]+\b", PAGES[alert].read_text(encoding="utf-8"))
    assert set(named) - known == set()


def test_settings_of_the_pages_exist() -> None:
    """What a page tells to change is there."""
    known = set(re.findall(r"(?m)^\| `([\w.]+)", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")))
    sections = {name.partition(".")[0] for name in known if "." in name}
    pattern = re.compile(rf"(?<![\w/.])(?:{'|'.join(sorted(sections))})(?:\.[a-z0-9_]+)+")
    wrong = {
        (alert, name)
        for alert, path in PAGES.items()
        for name in pattern.findall(re.sub(r"```.*?```|\]\(.*?\)|\[[\w.]+\]", "", path.read_text(), flags=re.DOTALL))
        if not name.endswith((".md", ".yml")) and not any(one == name or one.startswith(f"{name}.") for one in known)
    }
    assert wrong == set()


def test_the_chart_has_the_same_rules() -> None:
    (found,) = [one for one in _manifests(CHART) if one["kind"] == "PrometheusRule"]
    rendered = {rule["alert"]: rule for group in found["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    own = {alert: rule for alert, (name, rule) in ALERTS.items() if name.startswith("stretto")}
    assert rendered.keys() == own.keys()
    for alert, rule in own.items():
        there = dict(rendered[alert])
        # The jobs of the chart's ServiceMonitor have other names than that of prometheus.yml.
        there["expr"] = re.sub(r'job=~"default/[^"]*"', 'job="stretto"', there["expr"])
        assert there == rule


def _manifests(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]
