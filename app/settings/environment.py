"""Settings from environment variables: STRETTO_<PATH> for each setting, and the short names that platforms such as
Heroku use.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from app.settings.document import Text
from app.settings.keys import VARIABLE_PREFIX, Key, closest, dotted, fields, leaves, variable
from app.settings.problems import Location, Problem, show

CONFIG: Final = "STRETTO_CONFIG"
# What `stretto demo` reads, which `stretto run` starts in the environment of the server.
_OF_CLIENTS: Final = frozenset({"STRETTO_TOKEN", "STRETTO_TENANT"})

# Kubernetes tells every container the addresses of the services in its namespace. One may be called stretto:
# STRETTO_SERVICE_HOST, STRETTO_PORT_3200_TCP=tcp://10.0.0.7:3200.
_SERVICE_NAME: Final = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_SERVICE_VALUE: Final = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class Override:
    """A setting that an environment variable sets."""

    key: Key
    value: Any  # Text, or what the key holds
    place: Location


def overrides(environ: Mapping[str, str]) -> tuple[list[Override], list[Problem]]:
    """The settings in the environment. Later ones win: first the short names, then STRETTO_<PATH>."""
    found: list[Override] = []
    problems: list[Problem] = []
    for name, parse in SHORT_NAMES.items():
        if text := environ.get(name):  # empty is unset: what a compose file makes of an unset variable
            try:
                found += [Override(key, value, Location(name)) for key, value in parse(text)]
            except ValueError as wrong:
                problems.append(Problem(Location(name), f"{wrong}; got {show(text)}"))
    by_name = {variable(key): key for key in leaves()}
    for name in sorted(environ):
        if (
            not name.startswith(VARIABLE_PREFIX)
            or name == CONFIG
            or name in _OF_CLIENTS
            or _is_of_a_service(name, environ[name])
        ):
            continue
        if name not in by_name:
            problems.append(Problem(Location(name), _unknown(name, [CONFIG, *by_name])))
        elif environ[name] or name != variable(("data_dir",)):
            found.append(Override(by_name[name], Text(environ[name]), Location(name)))
    return found, problems


def _is_of_a_service(name: str, value: str) -> bool:
    return bool(_SERVICE_NAME.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_VALUE.fullmatch(value)))


def _unknown(name: str, known: Sequence[str]) -> str:
    section = next((key for key in fields() if variable(key) == name), None)
    if section:
        first = next(key for key in leaves() if key[: len(section)] == section)
        return f"{dotted(section)} is a section, not a setting; set its keys, as {variable(first)}"
    return f"there is no such setting; the nearest known variable is {closest(name, known)}"


def _one(key: Key) -> Callable[[str], Sequence[tuple[Key, Any]]]:
    return lambda text: [(key, Text(text))]


def _worker(name: str) -> Sequence[tuple[Key, Any]]:
    """Several processes of a line of the Procfile share a folder. Raises: ValueError"""
    number = name.rpartition(".")[2]
    if not (number.isascii() and number.isdigit()):
        raise ValueError("expected the name of a process and its number, as live-store.2")
    return [(("worker",), Text(number))]


def _remote_write(url: str) -> Sequence[tuple[Key, Any]]:
    return [(("metrics_generator", "storage", "remote_write"), [{"url": url}])]


_BUCKETS: Final = MappingProxyType(
    {
        "s3": ("s3", "bucket"),
        "gs": ("gcs", "bucket_name"),
        "az": ("azure", "container_name"),
    }
)


def _storage(url: str) -> Sequence[tuple[Key, Any]]:
    """Parses file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix. Raises: ValueError

    The URL replaces the whole location: a URL without a prefix also removes the file's prefix.
    """
    wrong = ValueError("expected file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
    trace = ("storage", "trace")
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that does not close
        raise wrong from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            "expected no user, ? or # in the URL; set keys and endpoints by their own settings, as "
            f"{variable((*trace, 's3', 'endpoint'))}"
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise wrong
        return [((*trace, "backend"), "local"), ((*trace, "local", "path"), unquote(parts.path))]
    if parts.scheme not in _BUCKETS or not parts.netloc:
        raise wrong
    section, bucket = _BUCKETS[parts.scheme]
    return [
        ((*trace, "backend"), section),
        ((*trace, section, bucket), parts.netloc),
        ((*trace, section, "prefix"), unquote(parts.path).strip("/")),
    ]


# The variables that need no prefix. Their values are checked like any other.
SHORT_NAMES: Final[Mapping[str, Callable[[str], Sequence[tuple[Key, Any]]]]] = MappingProxyType(
    {
        "KAFKA_URL": _one(("kafka", "address")),
        "STORAGE_URL": _storage,
        "REMOTE_WRITE_URL": _remote_write,
        "PORT": _one(("server", "http_listen_port")),
        "TARGET": _one(("target",)),
        "ZONE": _one(("members", "zone")),
        "HONCHO_PROCESS_NAME": _worker,
    }
)
