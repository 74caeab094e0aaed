"""The ready-made rules: promtool has no complaints, its tests pass, and each alert says what to do."""

import re
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from app.cli.vulture import metrics
from tests.harness.client import eventually
from tests.harness.counted_workload import BY_EDGE, CountedWorkload
from tests.harness.prometheus import FOLDER, RULES, Rule, program, rules, unrolled
from tests.helpers.files import ROOT

DOCS = (ROOT / "docs" / "metrics-generator.md").read_text()
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]
# About Stretto itself; the others are about the services that send spans.
OWN_ALERTS = [
    rule
    for path in RULES
    if path.name.startswith("stretto")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
METRIC = re.compile(r"\b(?:(?:traces|tempo|tempodb|stretto|process)_\w+|up)\b")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["check", "rules", *RULES], id="check rules"),
        pytest.param(["check", "config", FOLDER / "prometheus.yml"], id="check config"),
        pytest.param(["test", "rules", *TESTS], id="test rules"),
    ],
)
def test_promtool(arguments: list[str | Path]) -> None:
    """Of every file of rules."""
    ran = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_rule_is_tested() -> None:
    """promtool's tests see each alert fire and ask for each recorded series."""
    texts = "".join(path.read_text() for path in TESTS)
    firing = set(re.findall(r'alertname="(\w+)", alertstate="firing"', texts))
    assert firing == {rule["alert"] for rule in ALERTS}
    # Those about Stretto itself each have a test of their own: quiet first, then firing, with the metrics of the rule.
    files = [yaml.safe_load(path.read_text()) for path in TESTS if path.name.startswith("alerts")]
    own = {test["name"]: test for file in files for test in file["tests"]}
    assert len(own) == sum(len(file["tests"]) for file in files)
    assert set(own) == {rule["alert"] for rule in OWN_ALERTS}
    for rule in OWN_ALERTS:
        quiet, fires = own[rule["alert"]]["promql_expr_test"]
        assert quiet["exp_samples"] == []
        assert fires["exp_samples"]
        given = {re.split(r"[{]", one["series"])[0] for one in own[rule["alert"]]["input_series"]}
        assert given == set(METRIC.findall(unrolled(rule["expr"])))
    asked = {
        name for line in re.findall(r"- expr: (.*)", texts) for name in re.findall(r"\w+:\w+:\w+|stretto:\w+", line)
    }
    assert asked == {rule["record"] for rule in RECORDS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_helps(rule: Rule) -> None:
    """It says what is wrong, how one knows, and where what to do is; whom to wake; a rate must last to count."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert len(rule["annotations"]["summary"]) < 90
    assert not rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 20
    assert "for" in rule or "increase(" in rule["expr"] or "changes(" in rule["expr"]


def test_rules_are_documented() -> None:
    """Each by its name."""
    for rule in RECORDS:
        assert f"`{rule['record']}`" in DOCS, f"docs/metrics-generator.md does not know {rule['record']}"


def vulture_metrics() -> set[str]:
    """Without `_total`."""
    found = (vars(one).get("_name") for one in vars(metrics).values() if isinstance(one, MetricWrapperBase))
    return {name for name in found if name}


# ---- with series of the bookshop


def test_names_of_the_rules_exist(counted: CountedWorkload) -> None:
    """Whatever the rules ask for, Stretto pushes or exposes it."""
    names = set(counted.prometheus.get("label/__name__/values"))
    asked = {name for rule in rules() for name in METRIC.findall(unrolled(rule["expr"]))}
    assert len(asked) > 20
    # Another process than the server has these.
    asked -= {name + suffix for name in vulture_metrics() for suffix in ("", "_total")}
    # A counter with labels has no series before it counts something: its name only.
    with urllib.request.urlopen(f"{counted.client.cluster.http_url}/metrics", timeout=10) as reply:
        typed = re.findall(r"(?m)^# TYPE (\w+)", reply.read().decode())
        names |= {name + end for name in typed for end in ("", "_bucket", "_count")}
    # Without workers side by side nobody says which of them are up.
    assert asked - names - {"stretto_worker_up"} == set()


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_recorded_series(counted: CountedWorkload, rule: Rule) -> None:
    """Each rule has a value for every service, operation or edge that it is about."""
    labels, _, _ = rule["record"].partition(":")
    serving = [span for span in counted.spans if span.kind in ("SERVER", "CONSUMER")]
    want = {
        "service": {(span.service,) for span in serving},
        "service_span_name": {(span.service, span.name) for span in serving},
        "client_server": set(counted.edges),
        "stretto": {()},
        "route": {("/api/search",)},
    }[labels]
    names = {"client_server": BY_EDGE, "stretto": ()}.get(labels, tuple(re.split("_(?=span)", labels)))
    if labels != "route":
        found = counted.by(unrolled(rule["expr"]), *names)
        assert found.keys() == want
    else:  # of requests that must be made first
        found = eventually(
            lambda: (
                counted.client.search("{ }", **counted.window),
                counted.prometheus.by(unrolled(rule["expr"]), *names),
            )[1],
            lambda found: want <= {key for key, value in found.items() if value >= 0},
        )
    assert all(value >= 0 for key, value in found.items() if key in want)


def test_classic_or_native(counted: CountedWorkload) -> None:
    """Durations come from whichever histograms there are, to the same series."""
    either = [rule["expr"].split("\nor ") for rule in RECORDS if "\nor histogram_quantile(" in rule["expr"]]
    assert len(either) == 6
    for classic, native in either:
        names = re.findall(r"\w+", re.findall(r"by \((.*?)\)", native)[0])
        assert "_bucket" in classic
        assert "_bucket" not in native
        assert counted.by(classic, *names).keys() == counted.by(native, *names).keys() != set()


def test_errors_of_the_rules(counted: CountedWorkload) -> None:
    """The ratio of a service's errors is that of its spans."""
    serving = [span for span in counted.spans if span.kind in ("SERVER", "CONSUMER")]
    calls = Counter((span.service,) for span in serving)
    failed = Counter((span.service,) for span in serving if span.status == "ERROR")
    found = counted.by(unrolled("service:traces_spanmetrics_errors:ratio_rate5m"), "service")
    assert found == pytest.approx({key: failed[key] / count for key, count in calls.items()}, rel=1e-9)


def test_a_healthy_stretto_has_no_alerts(counted: CountedWorkload) -> None:
    """None of those about Stretto itself. One compares two rates, which at first are of different times; another one
    waits for the first cycle of a compactor.
    """
    for rule in OWN_ALERTS:
        if rule["alert"] not in {"MetricsGeneratorBehind", "RetentionNotRunning", "CompactionHasNoLeader"}:
            assert counted.by(unrolled(rule["expr"]), "instance", "reason", "route") == {}, rule["alert"]
