"""Makes the generated parts of docs/ anew: `make docs`. tests/test_docs.py says whether they are up to date.

A document has prose of its own, then the line MARK; what follows that line is generated.
"""

import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from app.settings.schema import overrides_schema, schema_text, settings_schema
from app.settings.show import table as settings_table
from benchmarks import scaling
from tools.licences import licences_table
from tools.tempo_names import counterparts_table

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
MARK: Final = "<!-- `make docs` makes everything below this line. -->"
_LABEL: Final = re.compile(r"\{\{.*?\}\}")  # what an alert is about, in its summary
PACKAGES: Final = ("app", "agents", "query", "tables")


class OwnMetric(NamedTuple):
    """A metric as an operator sees it."""

    type: str
    labels: tuple[str, ...]
    help: str


def metrics() -> dict[str, OwnMetric]:
    """Every metric that the code declares, by the name that a query of Prometheus uses (counters end in `_total`).

    Metrics register themselves when their module is imported, so this imports every module.
    """
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    found: dict[str, OwnMetric] = {}
    for collector in list(REGISTRY._collector_to_names):  # noqa: SLF001 no public way to ask
        # What prometheus_client adds of its own (python_*, process_*) is of classes of its own.
        if isinstance(collector, MetricWrapperBase):
            families, declared = list(collector.describe()), collector
        elif type(collector).__module__.startswith(PACKAGES):
            families, declared = list(collector.collect()), None
        else:
            continue
        for family in families:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = tuple((declared or family)._labelnames)  # type: ignore[union-attr]  # noqa: SLF001 as above
            found[name] = OwnMetric(family.type, labels, family.documentation)
    return dict(sorted(found.items()))


def metrics_table() -> str:
    """All metrics as a Markdown table, sorted by name."""
    lines = ["| Metric | Type | Labels | What it says |", "|---|---|---|---|"]
    known = metrics()
    for name, metric in known.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.help} |")
    return "\n".join(lines) + f"\n\n{counterparts_table(known)}"


def scaling_tables() -> str:
    """What a load needs and costs, and the parameters behind it."""
    known = scaling.Parameters()
    return f"{scaling.text(known)}\n{scaling.parameters_table(known)}"


def alerts_table() -> str:
    """All alerts as a Markdown table, by the files of their rules."""
    lines = ["| Alert | Severity | Rule | What it says |", "|---|---|---|---|"]
    for path in sorted((DOCS.parent / "docker" / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in (rule for rule in group["rules"] if "alert" in rule):
                name, summary = rule["alert"], _LABEL.sub("…", rule["annotations"]["summary"])
                lines.append(f"| [{name}]({name}.md) | {rule['labels']['severity']} | `{path.name}` | {summary} |")
    return "\n".join(lines) + "\n"


GENERATED: Final = {
    "licences.md": licences_table,
    "metrics.md": metrics_table,
    "settings.md": settings_table,
    "scaling.md": scaling_tables,
    "runbooks/README.md": alerts_table,
}
# Generated as a whole.
SCHEMAS: Final = {"settings.schema.json": settings_schema, "overrides.schema.json": overrides_schema}


def generated(text: str, table: str) -> str:
    """The text of a document with everything below its mark made anew."""
    before, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"a line is missing that says where the generated part begins: {MARK}")
    return f"{before}{MARK}\n\n{table}"


def main() -> None:
    """Write the documents."""
    for name, table in GENERATED.items():
        path = DOCS / name
        path.write_text(generated(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
    for name, schema in SCHEMAS.items():
        (DOCS / name).write_text(schema_text(schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
