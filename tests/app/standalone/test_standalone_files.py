"""The files around the code: they parse, agree with each other, and name nothing of the machine that made them."""

import re
import shlex
import subprocess
import tomllib

import pytest
import yaml

from app.settings import load
from app.settings.models import EVERYTHING, TARGETS
from tests.harness.prometheus import OWN
from tests.helpers.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.txt", "requirements-dev.txt")


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ]+)(?: ; .*)? \\$", (ROOT / name).read_text())
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_source(name):
    """No index and no folder of wheels: whoever installs has their own. Each package has hashes."""
    text = (ROOT / name).read_text()
    assert not re.search(r"(?m)^--|://|find-links|index-url| @ ", text)
    entries = re.findall(r"(?ms)^[a-zA-Z].*?(?=^[a-zA-Z#]|\Z)", text)
    assert len(entries) == len(pins(name)) > 20
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lock_is_the_projects():
    """Every exact version of pyproject.toml, the extra and the build tool are in it."""
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["standalone"]
    locked = pins("requirements.txt")
    for requirement in wanted:
        package, _, version = requirement.partition("==")
        assert locked[re.sub(r"[-_.]+", "-", package).lower()] == version, "run `make lock`"
    assert int(locked["setuptools"].split(".")[0]) >= 77


def test_both_locks_agree():
    """`make test` must not exchange what `make run` installed."""
    run, dev = (pins(name) for name in LOCKS)
    shared = run.keys() & dev.keys()
    assert {name: run[name] for name in shared} == {name: dev[name] for name in shared}
    for requirement in PROJECT["dependency-groups"]["dev"]:
        name, _, _ = requirement.partition(";")[0].partition("[")
        assert re.sub(r"[-_.]+", "-", name).lower() in dev, "run `make lock`"


def test_procfile():
    """A line per target: `faust -A app … worker`, TARGET as the settings know it. The shell is not left behind, which
    would end at a signal before what it has started; any number of a line may run on a machine.
    """
    lines = [line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines()]
    assert {name for name, _, _ in lines} == {*TARGETS, *EVERYTHING}
    for name, _, line in lines:
        words = shlex.split(line.replace("${STRETTO_SERVER__GRPC_LISTEN_PORT:-0}", "0"))
        assert words[:2] == ["exec", "env"]
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        program, *arguments = words[2 + len(variables) :]
        assert variables.pop("PATH").startswith(".venv/bin:")
        assert variables["TARGET"] == name
        settings = load(variables, ROOT / "nowhere")
        assert settings.target == name
        assert (program, *arguments[:5]) == ("faust", "-A", "app", "-L", "uvloop", "worker")
        if {"live-store", "query-frontend"} & settings.targets and name != "all":
            assert settings.server.grpc_listen_port == 0


def test_dockerfile():
    """Known instructions only; what it copies is there and not ignored; it starts what the Procfile starts."""
    text = re.sub(r"\\\n", " ", (ROOT / "docker" / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    known = "ARG FROM LABEL WORKDIR RUN COPY ENV USER VOLUME EXPOSE HEALTHCHECK STOPSIGNAL CMD"
    assert {instruction for instruction, _ in lines} <= set(known.split())
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for instruction, rest in lines:
        if instruction == "COPY" and not rest.startswith("--from"):
            assert all({source, source.partition("/")[0]} & allowed for source in rest.split()[:-1])
    command = yaml.safe_load(lines[-1][1])
    assert " ".join(command) == "faust -A app -L uvloop worker -l info --without-web"


def test_makefile_knows_its_words():
    """`make` alone lists them; each has an explanation."""
    reply = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    words = set(re.findall(r"(?m)^  make ([a-z-]+) +\S", reply))
    assert words == {
        "help",
        "run",
        "upgrade",
        "test",
        "thorough",
        "check",
        "format",
        "docs",
        "ui",
        "proto",
        "bench",
        "bench-queries",
        "bench-series",
        "soak",
        "chaos",
        "fuzz",
        "lock",
        "sbom",
        "audit",
        "clean",
    }


def test_ci():
    """bash reads it, it stops at the first failure, and it runs `make test`."""
    path = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert "set -euo pipefail" in text
    assert "make test" in text
    # Prometheus comes to where its tests look for it.
    assert str(OWN.relative_to(ROOT)) in text
    assert "export CI=" in text
    assert path.stat().st_mode & 0o111


def test_license():
    """The whole text of the licence that pyproject.toml names."""
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
