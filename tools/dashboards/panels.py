"""The parts of a dashboard, as Grafana's JSON has them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_ROW_UNITS: Final = 24  # the width of a dashboard
_HEIGHT: Final = 8
# Where docs/ as a site has the pages of alerts, on the machine of whoever has just made it.
RUNBOOKS: Final = "http://127.0.0.1:8000/runbooks"
# All processes that the variables at the top choose.
SELECTED: Final = 'job=~"$job", instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Query:
    """expression: PromQL; `SEL` stands for the labels that the variables choose. legend: of each series"""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart. unit: as Grafana names it; help: what to conclude; kind: timeseries, stat, table"""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    help: str = ""
    kind: str = "timeseries"
    stacked: bool = False
    zero_is_well: bool = False  # any value above 0 is red
    alerts: Sequence[str] = ()  # about the same; links lead to their runbooks


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """uid: stays the same for ever, since links contain it"""

    uid: str
    title: str
    description: str
    rows: Sequence[Row] = field(default=())
    variables: Sequence[Json] = field(default=())


def to_json(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana reads it."""
    panels: list[Json] = []
    at = 0
    for row in dashboard.rows:
        panels.append(_row(row, len(panels) + 1, at))
        at += 1
        width = _ROW_UNITS // len(row.panels)
        for number, panel in enumerate(row.panels):
            place = {"x": number * width, "y": at, "w": width, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
        at += _HEIGHT
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["stretto"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "tags": ["stretto"], "title": "Stretto", "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [*_variables(), *dashboard.variables]},
        "panels": panels,
    }


def label_variable(name: str, metric: str, label: str) -> Json:
    """A variable with the values of a label of a metric."""
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _variables() -> list[Json]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    metric = "stretto_event_loop_stall_seconds_count"
    return [
        source,
        label_variable("job", metric, "job"),
        label_variable("instance", f'{metric}{{job=~"$job"}}', "instance"),
        {
            "name": "runbooks",
            "label": "Runbooks at",
            "description": "Where your copy of docs/runbooks is: the links of panels lead there.",
            "type": "textbox",
            "query": RUNBOOKS,
            "current": {"text": RUNBOOKS, "value": RUNBOOKS},
        },
    ]


def _row(row: Row, number: int, at: int) -> Json:
    place = {"x": 0, "y": at, "w": _ROW_UNITS, "h": 1}
    return {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.zero_is_well:
        steps.append({"color": "red", "value": 0.000001})
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "min": 0}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.kind),
        "links": [
            {"title": f"Alert: {alert}", "url": f"${{runbooks}}/{alert}/", "targetBlank": True}
            for alert in panel.alerts
        ],
        "targets": [
            {
                "refId": chr(ord("A") + place_),
                "datasource": _SOURCE,
                "expr": query.expression.replace("SEL", SELECTED),
                "legendFormat": query.legend,
                "instant": panel.kind == "table",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for place_, query in enumerate(panel.queries)
        ],
    }
    return made


def _options(kind: str) -> Json:
    match kind:
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
        case _:
            return {"cellHeight": "sm"}
