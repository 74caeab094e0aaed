"""The compose files: every variable is a setting, every file and volume is there, ports are those of the settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from app.settings import Settings, load
from app.settings.models import TARGETS
from tests.docker.compose_files import EXAMPLES, FOLDER, Service, load_compose
from tests.harness.prometheus import FLAGS
from tests.helpers.files import ROOT

FILES = [FOLDER / name / "compose.yaml" for name in EXAMPLES]
EACH = pytest.mark.parametrize("path", FILES, ids=EXAMPLES)
# Ports on which the receivers listen, and the API's.
RECEIVERS = {"4317", "4318", "9411", "14250", "14268", "6831", "6832"}


def strettos(path: Path) -> dict[str, Service]:
    return {name: one for name, one in load_compose(path)["services"].items() if one["image"] == "stretto"}


def settings_of(service: Service) -> Settings:
    env = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in service["environment"].items()}
    return load(env, ROOT / "nowhere")


def test_there_are_the_usual_ones() -> None:
    assert EXAMPLES == ["collector", "distributed", "multitenant", "single"]
    assert load_compose(ROOT / "docker" / "compose.yaml") == load_compose(FOLDER / "distributed" / "compose.yaml")


@EACH
def test_every_variable_is_a_setting(path: Path) -> None:
    for service in strettos(path).values():
        settings = settings_of(service)
        assert settings.target == service["environment"]["TARGET"]
        assert settings.kafka.address == ("kafka:9092",)


def test_distributed_has_every_role() -> None:
    targets = {
        service["environment"]["TARGET"] for service in strettos(FOLDER / "distributed" / "compose.yaml").values()
    }
    assert targets == set(TARGETS)
    zones = {
        service["environment"].get("ZONE") for service in strettos(FOLDER / "distributed" / "compose.yaml").values()
    }
    assert zones == {None, "a", "b"}


@EACH
def test_files_and_volumes_are_there(path: Path) -> None:
    compose = load_compose(path)
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith(str(ROOT)):
                assert Path(source).exists(), source
                assert rest.endswith(":ro")
            elif rest:
                assert source in compose["volumes"], source
        if "build" in service:
            assert (Path(service["build"]["context"]) / service["build"]["dockerfile"]).is_file()
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
    for secret in compose["secrets"].values():
        assert Path(secret).read_text().strip()


@EACH
def test_ports_are_bound_to_this_machine(path: Path) -> None:
    compose = load_compose(path)
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    outside = [port.split(":")[1] for port in ports]
    assert len(set(outside)) == len(outside)
    assert {"3200", "3000", "4317", "4318"} <= set(outside)
    receiving = [one for one in strettos(path).values() if any(":4317:" in port for port in one.get("ports", []))]
    for service in receiving:
        listening = {endpoint.rpartition(":")[2] for endpoint in _endpoints(settings_of(service).distributor.receivers)}
        inside = {port.split(":")[2].partition("/")[0] for port in service["ports"]} - {"3200"}
        assert inside <= listening
        assert inside <= RECEIVERS


def _endpoints(section: Any) -> list[str]:
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == "endpoint":
            found += [str(value)] if value else []
        elif isinstance(value, BaseModel):
            found += _endpoints(value)
    return found


@EACH
def test_images_are_pinned(path: Path) -> None:
    for name, service in load_compose(path)["services"].items():
        assert service["image"] == "stretto" or re.fullmatch(r"[\w./-]+:v?[\w.-]*\d[\w.-]*", service["image"]), name
        assert not service["image"].endswith(":latest")


@EACH
def test_prometheus(path: Path) -> None:
    """It takes remote write, native histograms and exemplars, as in the tests, and scrapes all processes."""
    services = load_compose(path)["services"]
    assert {flag for flag in FLAGS if flag.startswith(("--web", "--enable"))} <= set(services["prometheus"]["command"])
    (listed,) = yaml.safe_load((path.parent / "targets.yaml").read_text())
    assert listed["targets"] == [f"{name}:3200" for name in strettos(path)]
    generators = [one for one in strettos(path).values() if "REMOTE_WRITE_URL" in one["environment"]]
    for service in generators:
        (target,) = settings_of(service).metrics_generator.storage.remote_write
        assert target.url == "http://prometheus:9090/api/v1/write"
    assert generators


@EACH
def test_each_service_is_one_process(path: Path) -> None:
    """Prometheus asks a name once: of several processes behind it, each time another one, whose counters differ."""
    assert [name for name, service in strettos(path).items() if service.get("deploy", {}).get("replicas", 1) != 1] == []


@EACH
def test_kafka_takes_the_largest_record(path: Path) -> None:
    environment = load_compose(path)["services"]["kafka"]["environment"]
    for service in strettos(path).values():
        assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) >= settings_of(service).kafka.max_message_bytes


@EACH
def test_data_sources_name_services(path: Path) -> None:
    services = load_compose(path)["services"]
    volumes = services["grafana"]["volumes"]
    (source,) = [line.split(":")[0] for line in volumes if line.endswith("datasources.yaml:ro")] or [
        str(ROOT / "docker/grafana/provisioning/datasources/datasources.yaml")
    ]
    known = set()
    for one in yaml.safe_load(Path(source).read_text())["datasources"]:
        url = one["url"].replace("$STRETTO_URL", services["grafana"]["environment"].get("STRETTO_URL", ""))
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", url).groups()  # type: ignore[union-attr]
        assert host in services
        known.add((one["type"], port))
    assert {("prometheus", "9090"), ("tempo", "3200")} <= known
