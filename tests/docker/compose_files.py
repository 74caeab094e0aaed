"""Compose files as `docker compose config` shows them: with `include`, `extends` and anchors resolved."""

import copy
from pathlib import Path
from typing import Any, Final

import yaml

from tests.helpers.files import ROOT

FOLDER: Final = ROOT / "docker" / "compose"
EXAMPLES: Final = sorted(path.parent.name for path in FOLDER.glob("*/compose.yaml"))

Service = dict[str, Any]


def load_compose(path: Path) -> dict[str, Any]:
    """A file with its services resolved; paths in `volumes`, `build` and `secrets` are absolute."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    services = {name: _service(path, service) for name, service in loaded.get("services", {}).items()}
    secrets = {name: _file(path, secret["file"]) for name, secret in loaded.get("secrets", {}).items()}
    volumes = set(loaded.get("volumes", {}))
    for other in loaded.get("include", []):
        found = load_compose((path.parent / other).resolve())
        services |= found["services"]
        secrets |= found["secrets"]
        volumes |= found["volumes"]
    return {"services": services, "secrets": secrets, "volumes": volumes}


def _service(path: Path, service: Service) -> Service:
    own = copy.deepcopy(service)
    extends = own.pop("extends", None)
    if "volumes" in own:
        own["volumes"] = [_volume(path, volume) for volume in own["volumes"]]
    if "build" in own:
        own["build"]["context"] = _file(path, own["build"]["context"])
    if extends is None:
        return own
    base_path = (path.parent / extends["file"]).resolve()
    base = _service(base_path, yaml.safe_load(base_path.read_text())["services"][extends["service"]])
    merged = base | own
    for key in ("volumes", "ports", "secrets"):
        # A volume of the same place in the container replaces the one of the base.
        lines = {_place(line): line for line in (*base.get(key, []), *own.get(key, []))}
        if lines:
            merged[key] = list(lines.values())
    if "environment" in base or "environment" in own:
        merged["environment"] = base.get("environment", {}) | own.get("environment", {})
    return merged


def _place(line: str) -> str:
    parts = line.split(":")
    return parts[1] if len(parts) > 1 else line


def _volume(path: Path, volume: str) -> str:
    source, colon, rest = volume.partition(":")
    return f"{_file(path, source)}{colon}{rest}" if source.startswith(".") else volume


def _file(path: Path, name: str) -> str:
    return str((path.parent / name).resolve())
