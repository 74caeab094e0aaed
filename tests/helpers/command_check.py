"""Whether a command that a document shows could be meant: its program, files and options are there."""

import argparse
import contextlib
import importlib.util
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from google.protobuf import json_format

from app.api.proto import tempo_pb2
from app.cli import main as cli
from tests.helpers.files import ROOT

_PYTHON_FOLDERS: Final = ("app", "benchmarks", "tests", "tools")
_MAKE_TARGETS: Final = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
_COMPOSE: Final = {
    "up": {"--build", "--detach"},
    "down": {"--volumes"},
    "config": {"--quiet"},
    "logs": {"--follow"},
    "exec": set(),
    "ps": set(),
    "run": {"--rm"},
    "pull": set(),
    "stop": set(),
    "restart": set(),
}
_DOCKER: Final = {
    "build": {"--file", "--tag"},
    "run": {"--rm", "--detach", "--name", "--publish", "--env", "--volume", "--network", "--read-only", "--tmpfs"},
}
_KUBECTL: Final = frozenset(
    {"apply", "create", "get", "describe", "logs", "rollout", "scale", "port-forward", "delete"}
)
_HELM: Final = frozenset({"install", "upgrade", "template", "uninstall", "rollback", "history", "lint"})


class ParsedOnly(BaseException):
    """The command line is good; nothing was done."""


def problem(words: list[str]) -> str:
    """What is wrong with a command, "" if nothing is known to be."""
    program = words[0].removeprefix(".venv/bin/")
    check = _CHECKS.get(program)
    if check is not None:
        return check(words[1:])
    if "/" in program and not program.startswith("/"):
        return "" if (ROOT / program).exists() else f"there is no {program}"
    return ""


def stretto_problem(argv: list[str]) -> str:
    """As the command line itself says it: its parser reads the arguments, and nothing is done."""
    said = io.StringIO()
    with _only_parsing(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            cli.main(argv)
        except ParsedOnly:
            return ""
        except SystemExit as err:
            return "" if not err.code else said.getvalue().strip()
    return ""  # a command without arguments of its own


@contextlib.contextmanager
def _only_parsing() -> Iterator[None]:
    """Makes the outermost parser of a command line end in ParsedOnly."""
    original = argparse.ArgumentParser.parse_known_args
    depth = 0

    def parse(self: Any, args: Any = None, namespace: Any = None) -> Any:
        nonlocal depth
        depth += 1
        try:
            found, rest = original(self, args, namespace)
        finally:
            depth -= 1
        if depth:
            return found, rest
        if self.prog == "stretto" and found.command in cli._OWN_PARSER:
            return found, rest
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        raise ParsedOnly

    argparse.ArgumentParser.parse_known_args = parse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]


def _make(words: list[str]) -> str:
    unknown = [word for word in words if "=" not in word and word not in _MAKE_TARGETS]
    return f"the Makefile has no {unknown}" if unknown else ""


def _docker(words: list[str]) -> str:
    compose = words[0] == "compose"
    known = _COMPOSE if compose else _DOCKER
    words = words[1:] if compose else words
    names = [word for word in words if not word.startswith("-")]
    verbs = [word for word in names if word in known]
    if not verbs:
        return f"no command of docker that we know: {words}"
    files = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--file"]
    for file in files:
        if not (ROOT / file).is_file():
            return f"there is no {file}"
    own, inner = words[words.index(verbs[0]) + 1 :], []
    if verbs[0] == "exec":
        own, inner = own[:1], own[1:]  # the service, and what it runs
    for option in (word.partition("=")[0] for word in own if word.startswith("--")):
        if option not in known[verbs[0]]:
            return f"docker {verbs[0]} {option}: not one that we know"
        if verbs[0] == "run":
            break
    if compose and files:
        services = _services(ROOT / files[-1])
        if wrong := [word for word in own if not word.startswith("-") and word not in services]:
            return f"{files[-1]} has no service {wrong}"
    return problem(inner) if inner else ""


def _services(path: Path) -> set[str]:
    loaded = yaml.safe_load(path.read_text())
    included = [_services((path.parent / other).resolve()) for other in loaded.get("include", [])]
    return set(loaded.get("services", {})).union(*included)


def _kubectl(words: list[str]) -> str:
    if not _KUBECTL & set(words):
        return f"no command of kubectl that we know: {words}"
    folders = [words[at + 1] for at, word in enumerate(words[:-1]) if word in {"--kustomize", "-k"}]
    return "".join(f"there is no {one}" for one in folders if not (ROOT / one / "kustomization.yaml").is_file())


def _helm(words: list[str]) -> str:
    if not _HELM & set(words):
        return f"no command of helm that we know: {words}"
    charts = [word for word in words if (ROOT / word / "Chart.yaml").is_file()]
    if not charts:
        return "" if {"uninstall", "rollback", "history"} & set(words) else f"no chart in {words}"
    values = yaml.safe_load((ROOT / charts[0] / "values.yaml").read_text())
    for at, word in enumerate(words[:-1]):
        if word == "--set":
            path = words[at + 1].partition("=")[0]
            if not _has(values, path.split(".")):
                return f"values.yaml has no {path}"
    return ""


def _has(values: Any, path: list[str]) -> bool:
    if not path or values == {}:
        return True
    return isinstance(values, dict) and path[0] in values and _has(values[path[0]], path[1:])


def _python(words: list[str]) -> str:
    if words[:1] != ["-m"]:
        return ""
    module = words[1]
    if module.split(".")[0] in _PYTHON_FOLDERS and importlib.util.find_spec(module) is None:
        return f"there is no module {module}"
    if module == "pytest":
        return "".join(f"there is no {w}" for w in words[2:] if w.startswith("tests/") and not (ROOT / w).exists())
    return ""


def _grpcurl(words: list[str]) -> str:
    options = dict(pairwise(words))
    service, _, method = words[-1].rpartition("/")
    found = tempo_pb2.DESCRIPTOR.services_by_name[service.removeprefix("tempopb.")].methods_by_name.get(method)
    if found is None or not (ROOT / options["-proto"]).is_file():
        return f"there is no {words[-1]} in {options.get('-proto')}"
    message = getattr(tempo_pb2, found.input_type.name)()
    json_format.ParseDict(json.loads(options["-d"]), message)
    return ""


def _curl(words: list[str]) -> str:
    """Whether the query API has the endpoint and its parameters: docs/openapi.yaml, which a test compares with the
    routes.
    """
    urls = [word for word in words if word.startswith("http://127.0.0.1:3200")]
    if not urls:
        return ""
    pairs = list(pairwise(words))
    method = next((value for option, value in pairs if option == "-X"), "GET").lower()
    parts = urlsplit(urls[0])
    found = _endpoint(parts.path or "/", method)
    if found is None:
        return f"the API has no {method.upper()} {parts.path}"
    sent = parts.query.split("&") if parts.query else []
    if "-G" in words:
        sent += [value for option, value in pairs if option in {"-d", "--data-urlencode"}]
    unknown = {one.partition("=")[0] for one in sent} - found
    return f"{parts.path} has no parameter {sorted(unknown)}" if unknown else ""


def _endpoint(path: str, method: str) -> set[str] | None:
    """The query parameters of an endpoint, None if there is none."""
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
    for template, methods in document["paths"].items():
        if method in methods and re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)), path):
            named = [
                document["components"]["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
                for one in methods[method].get("parameters", [])
            ]
            return {one["name"] for one in named if one["in"] == "query"}
    return None


def _systemctl(words: list[str]) -> str:
    units = [word for word in words if word.startswith("stretto@")]
    return "" if units and (ROOT / "docker/systemd/stretto@.service").is_file() else f"no unit of ours in {words}"


_CHECKS: Final[dict[str, Callable[[list[str]], str]]] = {
    "curl": _curl,
    "docker": _docker,
    "grpcurl": _grpcurl,
    "helm": _helm,
    "kubectl": _kubectl,
    "make": _make,
    "python": _python,
    "stretto": stretto_problem,
    "systemctl": _systemctl,
}
