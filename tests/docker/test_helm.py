"""The Helm chart: what it renders is valid for Kubernetes, says what the settings know, and fits together."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from app.settings import load
from app.settings.models import TARGETS
from tests.helpers.querying.api import FakeBackend, api_over
from tools.docs import metrics
from tools.manifests import CHART, RENDERED, rendered

Manifest = dict[str, Any]
PATHS: Final = list(RENDERED)
EACH = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
KUBERNETES: Final = ["1.27", "1.31", "1.34"]
# Paths of the web page, and what it loads.
PAGE: Final = {
    "/",
    "/assets/{name}",
    "/charts",
    "/compare",
    "/favicon.svg",
    "/licenses.txt",
    "/search",
    "/services",
    "/start",
}
# Kinds of operators, for which no schema is at hand.
FOREIGN: Final = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}


def manifests(path: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def of_kind(path: Path, *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests(path) if one["kind"] in kinds}


@EACH
def test_rendered_files_are_those_of_the_chart(path: Path) -> None:
    if shutil.which("helm") is None:
        pytest.skip("helm is not there: what it renders is not compared with the files in the repository")
    assert rendered(RENDERED[path]) == path.read_text(), "run python -m tools.manifests"


@EACH
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_them(path: Path, version: str) -> None:
    checked = 0
    for one in manifests(path):
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)
            checked += 1
    assert checked > 15


@EACH
def test_settings(path: Path, tmp_path: Path) -> None:
    """The settings file and the variables of every role are those of the program."""
    config = of_kind(path, "ConfigMap")
    file = tmp_path / "stretto.yaml"
    file.write_text(config["stretto"]["data"]["stretto.yaml"])
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text(config["stretto-overrides"]["data"]["overrides.yaml"])
    targets = set()
    for workload in of_kind(path, "Deployment", "StatefulSet").values():
        container = container_of(workload)
        if container["name"] != "stretto":
            continue
        env = {one["name"]: one.get("value", "10.1.2.3") for one in container["env"]}
        assert env["STRETTO_CONFIG"] == "/etc/stretto/settings/stretto.yaml"
        settings = load(env | {"STRETTO_CONFIG": str(file)}, tmp_path)
        assert settings.overrides.per_tenant_override_config == "/etc/stretto/overrides/overrides.yaml"
        targets.add(settings.target)
    roles = set(TARGETS)
    assert targets == (roles if "full" in path.name else roles - {"metrics-generator"})


def container_of(workload: Manifest) -> Manifest:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: Manifest = container
    return found


@EACH
def test_selectors_fit(path: Path) -> None:
    pods = [
        one["spec"]["template"]["metadata"]["labels"] for one in of_kind(path, "Deployment", "StatefulSet").values()
    ]
    for workload in of_kind(path, "Deployment", "StatefulSet").values():
        selector = workload["spec"]["selector"]["matchLabels"]
        matched = [labels for labels in pods if selector.items() <= labels.items()]
        assert matched == [workload["spec"]["template"]["metadata"]["labels"]]  # nobody else's pods
    for one in of_kind(path, "Service", "PodDisruptionBudget", "NetworkPolicy").values():
        spec = one["spec"]
        selector = spec.get("podSelector", spec.get("selector", {}))
        labels = selector.get("matchLabels", selector)
        assert any(labels.items() <= pod.items() for pod in pods), one["metadata"]["name"]


@EACH
def test_services_reach_ports_of_their_pods(path: Path) -> None:
    workloads = of_kind(path, "Deployment", "StatefulSet").values()
    for service in of_kind(path, "Service").values():
        labels = service["spec"]["selector"]
        behind = [one for one in workloads if labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()]
        assert behind
        for workload in behind:
            ports = {port["name"]: port.get("protocol", "TCP") for port in container_of(workload)["ports"]}
            for port in service["spec"]["ports"]:
                assert ports[port["targetPort"]] == port.get("protocol", "TCP")
                assert len(port["name"]) <= 15


@EACH
def test_pods_have_few_rights(path: Path) -> None:
    for workload in of_kind(path, "Deployment", "StatefulSet").values():
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        context = container_of(workload)["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        mounts = {one["name"] for one in container_of(workload)["volumeMounts"]}
        volumes = {one["name"] for one in pod["volumes"]}
        claims = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])}
        assert mounts == volumes | claims


def test_zones_stay_apart() -> None:
    """A live store of one zone is never on the machine of another zone's, and each zone has its own budget."""
    full = next(path for path in PATHS if path.stem == "full")
    stores = of_kind(full, "StatefulSet")
    assert {"stretto-live-store-a", "stretto-live-store-b"} <= set(stores)
    for zone in "ab":
        pod = stores[f"stretto-live-store-{zone}"]["spec"]["template"]["spec"]
        (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["labelSelector"]["matchExpressions"][0]["values"] == [zone]
        assert pod["nodeSelector"] == {"topology.kubernetes.io/zone": f"eu-central-1{zone}"}
        assert {"name": "ZONE", "value": zone} in container_of(stores[f"stretto-live-store-{zone}"])["env"]
        assert f"stretto-live-store-{zone}" in of_kind(full, "PodDisruptionBudget")


def test_autoscaling_scales_what_is_there() -> None:
    full = next(path for path in PATHS if path.stem == "full")
    there = {
        (one["kind"], name): one["spec"].get("replicas")
        for name, one in of_kind(full, "Deployment", "StatefulSet").items()
    }
    scalers = of_kind(full, "HorizontalPodAutoscaler", "ScaledObject")
    assert len(scalers) == 7
    for one in scalers.values():
        target = one["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in there
        if one["kind"] == "HorizontalPodAutoscaler":
            assert there[target["kind"], target["name"]] is None  # or each upgrade would reset it


def test_every_value_is_used() -> None:
    """A value that no template reads would be a switch without a wire."""
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for name in _names(yaml.safe_load((CHART / "values.yaml").read_text())):
        assert re.search(rf"\b{re.escape(name)}\b", templates), name


def _names(values: Mapping[str, Any]) -> set[str]:
    # What is passed on as a whole is not looked into.
    whole = {
        *("resources", "podSecurityContext", "containerSecurityContext", "podDisruptionBudget", "trace", "config"),
        *("annotations", "labels", "defaults", "per_tenant_overrides", "nodeSelector", "affinity", "zoneNames"),
    }
    found = set(values)
    for name, value in values.items():
        if isinstance(value, dict) and name not in whole:
            found |= _names(value)
    return found


def test_live_stores_scale_by_what_they_have_not_read() -> None:
    """They commit offsets when blocks have them: Kafka's lag of their group never gets small."""
    full = next(path for path in PATHS if path.stem == "full")
    scalers = of_kind(full, "ScaledObject")
    for zone in "ab":
        (trigger,) = scalers[f"stretto-live-store-{zone}"]["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        query = trigger["metadata"]["query"]
        assert {"app", "topic", "partition"} >= set(re.findall(r"(\w+)[=~]", query)) - {"namespace", "pod"}
        assert re.match(r"sum\((\w+)\{", query)[1] in metrics()  # type: ignore[index]
    (trigger,) = scalers["stretto-metrics-generator"]["spec"]["triggers"]
    assert trigger["type"] == "kafka"


@EACH
def test_probes(path: Path) -> None:
    """A backlog or a storage that is away may take longer than a start: that is no reason to kill the process."""
    for workload in of_kind(path, "Deployment", "StatefulSet").values():
        container = container_of(workload)
        if container["name"] == "stretto":
            kinds = ("startup", "liveness", "readiness")
            probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds}
            assert probes == {"startup": "/api/echo", "liveness": "/api/echo", "readiness": "/ready"}


def test_the_gateway_hides_what_is_for_operators() -> None:
    """Every path but those of the API and of the page."""
    full = next(path for path in PATHS if path.stem == "full")
    text = of_kind(full, "ConfigMap")["stretto-gateway"]["data"]["nginx.conf"]
    (hidden,) = re.findall(r"location ~ (\S+) \{ return 404; \}", text)
    paths = {resource.canonical for resource in api_over(FakeBackend(), profiling=True).router.resources()}
    assert len(paths) > 40
    shown = {one for one in paths if not one.startswith("/api/") and not re.search(hidden, one)}
    assert shown - PAGE == {"/ready", "/trace/{id}"}
