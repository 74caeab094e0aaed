"""`python -m tools.dashboards`: writes the dashboards to docker/grafana/dashboards."""

import json
import sys
from pathlib import Path
from typing import Final

from tools.dashboards.definitions import DASHBOARDS
from tools.dashboards.panels import Dashboard, to_json

FOLDER: Final = Path(__file__).resolve().parents[2] / "docker" / "grafana" / "dashboards"


def text_of(dashboard: Dashboard) -> str:
    """The file's content."""
    return json.dumps(to_json(dashboard), indent=1, ensure_ascii=False) + "\n"


def path_of(dashboard: Dashboard) -> Path:
    """The file's path."""
    return FOLDER / f"{dashboard.uid.removeprefix('stretto-')}.json"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        path_of(dashboard).write_text(text_of(dashboard))
        sys.stdout.write(f"{path_of(dashboard).name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
