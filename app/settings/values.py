"""Types of single settings: ranges, addresses, URLs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

KIB: Final = 1024
MIB: Final = 1024 * KIB

_INT32_MAX = 2**31 - 1  # Kafka's sizes and counts, Arrow's offsets
_BYTES_MAX = 2**40
_SECONDS_MAX = 10 * 365 * 24 * 3600  # in milliseconds it still fits everywhere

_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_KAFKA_PORT = 9092
_UNITS_S: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|d|h|m|s)")
DURATION_PATTERN: Final = rf"^(?:{_DURATION_PART.pattern})+$"
_DURATION_WORDS: Final = "a duration as 336h, 1h30m or 90s, or a number of seconds"


@dataclass(frozen=True, slots=True)
class Words:
    """A description of what a type accepts, for errors and the documentation; most types need none."""

    text: str


def host_port(text: str) -> str:
    """`text` if it is `host:port`; an IPv6 host stands in brackets. Raises ValueError."""
    host, _, port = text.rpartition(":")
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
    if not _HOST.fullmatch(host) or not 1 <= number <= 65535:
        raise ValueError("expected host:port with a port from 1 to 65535, as 0.0.0.0:4317")
    return text


def split_host_port(address: str) -> tuple[str, int]:
    """Host and port of an address that `host_port` accepts; an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _host_port_or_empty(text: str) -> str:
    return host_port(text) if text else text


def kafka_address(text: str) -> str:
    """A broker as `host:port`, from `host`, `host:port` or `kafka://host:port`. Raises ValueError."""
    scheme, separator, rest = text.strip().rpartition("://")
    if separator and scheme != "kafka":
        raise ValueError("expected host:port or kafka://host:port; TLS and SASL are set with kafka.tls and kafka.sasl")
    rest = rest.removesuffix("/")
    return host_port(f"{rest}:{_KAFKA_PORT}" if _HOST.fullmatch(rest) else rest)


def _split_at_commas(value: Any) -> Any:
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def http_url(text: str) -> str:
    """`text` if it is an http or https URL with a host. Raises ValueError."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that does not close
        good = False
    if not good or re.search(r"\s", text):
        raise ValueError("expected a URL as http://host:port/path or https://host/path")
    return text


def _http_url_or_empty(text: str) -> str:
    return http_url(text) if text else text


def _s3_endpoint(text: str) -> str:
    # Tempo writes a bare host here and the scheme in `insecure`; a whole URL is what others write.
    if text and "://" not in text:
        http_url(f"http://{text}")
        return text
    return _http_url_or_empty(text)


def _origin(text: str) -> str:
    text = text.strip()
    if text != "*" and not re.fullmatch(r"[A-Za-z*][A-Za-z0-9+.*-]*://[^\s/]+", text):
        raise ValueError("expected *, or an origin as https://app.example.com or https://*.example.com, without a path")
    return text.lower()


def _header_name(text: str) -> str:
    text = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", text):
        raise ValueError("expected the name of a header, or *")
    return text


def mask(text: str) -> str:
    """`text` with the part of a URL before the @ hidden. If in doubt it hides too much."""
    return re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)


def parse_duration(value: Any) -> Any:
    """Seconds from a duration as Go writes it (336h, 1h30m, 500ms), or with days (14d). Anything else stays as it is.

    Raises: ValueError for text that is no duration
    """
    if not isinstance(value, str):
        return value
    parts = _DURATION_PART.findall(value.strip())
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        raise ValueError("expected a duration, as 336h, 1h30m or 90s, or a number of seconds")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def duration_text(seconds: float) -> str:
    """A duration as Tempo writes it, in one unit: 336h, 90s, 0.5s."""
    for unit in ("h", "m"):
        if seconds and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:.0f}{unit}"
    return f"{seconds:g}s"


def _not_empty(value: Any) -> Any:
    if value == "":  # as a path it would be the working directory
        raise ValueError("expected a path that is not empty")
    return value


def _without_outer_slashes(text: str) -> str:
    return text.strip("/")


Port = Annotated[int, Field(ge=1, le=65535)]
PortOrFree = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one
Count = Annotated[int, Field(ge=1, le=_INT32_MAX)]
CountOrZero = Annotated[int, Field(ge=0, le=_INT32_MAX)]
Bytes = Annotated[int, Field(ge=1, le=_BYTES_MAX)]
BytesOrZero = Annotated[int, Field(ge=0, le=_BYTES_MAX)]
Seconds = Annotated[float, Field(gt=0, le=_SECONDS_MAX, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, le=_SECONDS_MAX, allow_inf_nan=False)]
# Tempo's spelling of times; without a unit, seconds. The value is in seconds.
Duration = Annotated[
    float,
    Words(f"{_DURATION_WORDS}, above 0"),
    BeforeValidator(parse_duration),
    Field(gt=0, le=_SECONDS_MAX, allow_inf_nan=False),
]
DurationOrZero = Annotated[
    float,
    Words(_DURATION_WORDS),
    BeforeValidator(parse_duration),
    Field(ge=0, le=_SECONDS_MAX, allow_inf_nan=False),
]
# Models are strict: YAML's types must fit. It has no paths, and its lists are not tuples.
Folder = Annotated[Path, Field(strict=False), BeforeValidator(_not_empty)]
Prefix = Annotated[str, AfterValidator(_without_outer_slashes)]
Name = Annotated[str, Words("text that is not empty"), Field(min_length=1)]
# Kafka's rule for topics; a consumer group's name must only not surprise.
TopicName = Annotated[
    str,
    Words("a name of letters, digits, dots, hyphens and underscores"),
    Field(pattern=r"^[A-Za-z0-9._-]{1,249}$"),
]
HostPort = Annotated[str, Words("host:port"), AfterValidator(host_port)]
HostPortOrEmpty = Annotated[str, Words("host:port, or empty"), AfterValidator(_host_port_or_empty)]
KafkaAddress = Annotated[str, AfterValidator(kafka_address)]
KafkaAddresses = Annotated[
    tuple[KafkaAddress, ...], BeforeValidator(_split_at_commas), Field(strict=False, min_length=1)
]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...],
    BeforeValidator(_split_at_commas),
    Field(strict=False),
]
HeaderNames = Annotated[
    tuple[Annotated[str, AfterValidator(_header_name)], ...],
    BeforeValidator(_split_at_commas),
    Field(strict=False),
]
HostPorts = Annotated[
    tuple[Annotated[str, Words("host:port"), AfterValidator(host_port)], ...],
    BeforeValidator(_split_at_commas),
    Field(strict=False),
]
HttpUrl = Annotated[str, Words("an http or https URL"), AfterValidator(http_url)]
HttpUrlOrEmpty = Annotated[str, Words("an http or https URL, or empty"), AfterValidator(_http_url_or_empty)]
S3Endpoint = Annotated[str, Words("host:port, an http or https URL, or empty"), AfterValidator(_s3_endpoint)]
