"""The section distributor.receivers: the OpenTelemetry Collector's receivers → ours.

A receiver that the file does not name is off in Tempo. Here it would be on, at its usual port: so it is switched off.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.settings.keys import Key, dotted, field_at
from app.settings.migration.report import Migrated

_ROOT: Final[Key] = ("distributor", "receivers")
_PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "otlp": ("grpc", "http"),
    "jaeger": ("grpc", "thrift_http", "thrift_compact", "thrift_binary"),
}
_LISTENERS: Final[tuple[Key, ...]] = (
    *((name, "protocols", protocol) for name, protocols in _PROTOCOLS.items() for protocol in protocols),
    ("zipkin",),
    ("jaeger", "remote_sampling"),
)
_KEPT_BY_OTHERS: Final = "connections have limits of their own: docs/settings.md, distributor.receivers"
_DROPPED: Final[Mapping[str, str]] = {
    "transport": "always tcp",
    "include_metadata": "the tenant is in X-Scope-OrgID",
    "compression_algorithms": "gzip, zstd, lz4, snappy, zlib and deflate are understood",
    "response_headers": "answers have no further headers",
    **dict.fromkeys(
        (
            *("keepalive", "read_buffer_size", "write_buffer_size", "keep_alives_enabled", "workers", "queue_size"),
            *("idle_conn_timeout", "max_idle_conns", "dialer", "middlewares"),
        ),
        _KEPT_BY_OTHERS,
    ),
}
_MANUAL: Final[Mapping[str, str]] = {
    "auth": "set server.auth_file: it is for all receivers",
    "traces_url_path": "spans are taken at the protocol's own path",
    "metrics_url_path": "Stretto takes no metrics",
    "logs_url_path": "Stretto takes no logs",
    "opencensus": "there is no receiver of OpenCensus; let a collector translate it to OTLP",
}
_TLS: Final = frozenset({"cert_file", "key_file", "client_ca_file"})
_TLS_DROPPED: Final = frozenset(
    {"min_version", "max_version", "cipher_suites", "reload_interval", "client_ca_file_reload", "insecure"}
)
_ANY_HOST: Final = frozenset({"", "0.0.0.0", "::", "localhost", "127.0.0.1"})  # noqa: S104 (compared, not bound)


class Receivers:
    """`migrate` takes the section. section: goes through the keys of one, and knows names that end in _s"""

    def __init__(self, found: Migrated, section: Any) -> None:
        self._found, self._section = found, section

    def migrate(self, value: Any) -> None:
        """In: the section of Tempo's file."""
        if not isinstance(value, dict) or not value:
            return  # as Tempo: its receivers, at their usual ports
        on: set[Key] = set()
        for name, receiver in value.items():
            theirs = (*_ROOT, name)
            if name in _PROTOCOLS:
                on |= self._several(theirs, receiver)
            elif name == "zipkin":
                self._listener(theirs, receiver)
                on.add((name,))
            elif name == "kafka":
                self._kafka(theirs, receiver)
            else:
                why = _MANUAL.get(name, "there is no such receiver, or it has a name of its own (`otlp/2`)")
                self._found.note(self._found.manual, theirs, why)
        for key in _LISTENERS:
            if key not in on:
                self._found.put((*_ROOT, *key, "endpoint"), _ROOT, "")
        off = ", ".join(dotted(key).replace(".protocols", "") for key in _LISTENERS if key not in on)
        if off:
            self._found.note(self._found.changed, _ROOT, f"only what is named is on; these stay off: {off}")

    def _several(self, theirs: Key, receiver: Any) -> set[Key]:
        """OTLP or Jaeger, with a listener for each protocol. Out: those that are on"""
        on: set[Key] = set()
        receiver = receiver if isinstance(receiver, dict) else {}
        for name, value in receiver.items():
            if name != "protocols":
                self._other((*theirs, name), value)
        protocols = receiver.get("protocols")
        for name, value in (protocols if isinstance(protocols, dict) else {}).items():
            key = (*theirs, "protocols", name)
            if key[len(_ROOT) :] in _LISTENERS:
                self._listener(key, value)
                on.add(key[len(_ROOT) :])
            else:
                self._found.note(self._found.manual, key, "there is no such protocol")
        return on

    def _listener(self, key: Key, value: Any) -> None:
        settings = dict(value) if isinstance(value, dict) else {}
        if "endpoint" not in settings:
            default = getattr(field_at((*key, "endpoint")), "default", "")
            self._found.put((*key, "endpoint"), key, default)
            text = f"listens at {default}; Tempo since 2.7 at localhost, where no address is given"
            self._found.note(self._found.changed, key, text)
        elif (host := str(settings["endpoint"]).rpartition(":")[0]) not in _ANY_HOST and "$" not in host:
            text = "is kept; if that name is not this machine's, write 0.0.0.0 in its place"
            self._found.note(self._found.changed, (*key, "endpoint"), text)
        for name in list(settings):
            if name == "tls":
                self._tls((*key, name), settings.pop(name))
            elif name in _DROPPED or name in _MANUAL:
                self._other((*key, name), settings.pop(name))
        self._section(settings, key, key)

    def _tls(self, key: Key, value: Any) -> None:
        for name, item in (value if isinstance(value, dict) else {}).items():
            if name in _TLS:
                self._section({name: item}, key, key)
            elif name in _TLS_DROPPED:
                text = "TLS 1.2 and 1.3 are used, and files that change are read again"
                self._found.note(self._found.dropped, (*key, name), text)
            else:
                self._found.note(self._found.manual, (*key, name), "write it to a file; see cert_file, key_file")

    def _other(self, key: Key, value: Any) -> None:
        name = str(key[-1])
        if name in _DROPPED:
            self._found.note(self._found.dropped, key, _DROPPED[name])
        elif value not in (None, {}, "", False):
            self._found.note(self._found.manual, key, _MANUAL.get(name, "is no setting of the receiver here"))

    def _kafka(self, theirs: Key, receiver: Any) -> None:
        """The Collector's receiver has one Kafka of its own, and a topic and an encoding."""
        receiver = receiver if isinstance(receiver, dict) else {}
        traces = receiver.get("traces")
        source = {**receiver, **(traces if isinstance(traces, dict) else {})}
        topics = source.get("topics") or [source.get("topic") or "otlp_spans"]
        entry: dict[str, Any] = {"topics": topics if isinstance(topics, list) else [topics]}
        if encoding := source.get("encoding"):
            entry["encoding"] = encoding
        self._found.put((*_ROOT, "kafka", "traces", 0), theirs, entry)
        self._found.note(self._found.changed, theirs, "its topic and encoding are an entry of the list `traces` here")
        for name in receiver:
            if name not in ("topic", "encoding", "traces", "topics"):
                text = "there is one Kafka for all: set it in kafka.* (address, tls, sasl, consumer_group_prefix)"
                notes = self._found.manual if name in ("brokers", "auth", "tls") else self._found.dropped
                self._found.note(notes, (*theirs, name), text)
