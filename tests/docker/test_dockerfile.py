"""The Dockerfile, parsed: few rights, pinned contents, everything that the program needs."""

import json
import re
import tomllib
from fnmatch import fnmatch
from typing import Final

from tests.helpers.files import ROOT

TEXT: Final = (ROOT / "docker" / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(word, arguments) of each instruction, with continued lines joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = [[]]
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def test_every_instruction_is_known() -> None:
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK"}
    assert {word for word, _ in instructions()} <= known | {"STOPSIGNAL", "CMD"}


def test_bases_have_a_version_and_may_be_pinned() -> None:
    defaults = dict(rest.split("=", 1) for word, rest in stages()[0] if word == "ARG")
    used = [rest for word, rest in instructions() if word == "FROM"]
    assert len(used) == 3
    for one in used:
        name = re.search(r"\$\{(\w+)\}", one)
        assert name is not None, "a digest must be possible by --build-arg"
        assert re.fullmatch(r"\w+:\d+(\.\d+)?-slim", defaults[name[1]])


def test_what_is_installed_is_locked() -> None:
    runs = " ".join(rest for word, rest in instructions() if word == "RUN")
    assert "npm ci" in runs
    assert "npm install" not in runs
    assert "--require-hashes --only-binary=:all: --requirement requirements.txt" in runs
    assert not re.search(r"apt-get|curl|wget", runs)


def test_optional_packages_come_in_the_versions_of_the_tests() -> None:
    """Each that pyproject.toml pins for an extra is in what the build constrains them to."""
    (script,) = [rest for word, rest in instructions() if word == "RUN" and "EXTRAS" in rest]
    expression = re.search(r"sed -n 's/(.*?)/\\1/p' (.*?) \|", script)
    assert expression is not None
    pattern = re.compile(expression[1].replace("\\(", "(").replace("\\)", ")"))
    locked = {
        found[1]
        for file in expression[2].split()
        for line in (ROOT / file).read_text().splitlines()
        if (found := pattern.match(line))
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.sub(r"\[.*?\]", "", one) for name, its in extras.items() if name != "standalone" for one in its}
    assert wanted <= locked


def test_the_last_stage_has_few_rights() -> None:
    last = stages()[-1]
    (user,) = [rest for word, rest in last if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    after = last[[word for word, _ in last].index("USER") + 1 :]
    assert not {word for word, _ in after} & {"RUN", "COPY", "USER"}  # nothing is made as root behind it
    (volume,) = [rest for word, rest in last if word == "VOLUME"]
    data_dir = re.search(r"STRETTO_DATA_DIR=(\S+)", TEXT)
    assert data_dir is not None
    assert data_dir[1] == volume  # with a read-only root the only place to write to
    assert not [rest for word, rest in last if word == "RUN" if "pip" in rest]


def test_the_last_stage_starts_what_the_procfile_starts() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    (command,) = [rest for word, rest in stages()[-1] if word == "CMD"]
    assert lines["all"].endswith(f" {' '.join(json.loads(command))}")
    words = [word for word, _ in stages()[-1]]
    assert {"HEALTHCHECK", "STOPSIGNAL", "EXPOSE", "LABEL"} <= set(words)


def test_labels() -> None:
    (labels,) = [rest for word, rest in stages()[-1] if word == "LABEL"]
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert named == {"title", "description", "licenses", "version", "revision"}


def test_the_built_page_is_in_it() -> None:
    build = stages()[2]
    copied = [rest for word, rest in build if word == "COPY"]
    assert "--from=page /page/dist app/ui/dist" in copied
    install = next(
        number for number, (word, rest) in enumerate(build) if word == "RUN" and "pip install --no-deps" in rest
    )
    assert install > build.index(("COPY", "--from=page /page/dist app/ui/dist"))


def test_what_is_copied_is_in_the_context() -> None:
    """.dockerignore lets nothing in but what it names."""
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == one or source.startswith(f"{one}/") for one in allowed), source
    assert not any(fnmatch("secrets.env", one) for one in allowed)
