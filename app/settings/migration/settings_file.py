"""Tempo's settings file, as a whole."""

from collections.abc import Mapping
from typing import Any, Final

from app.settings.document import read_unexpanded
from app.settings.keys import Key
from app.settings.migration.receivers import Receivers
from app.settings.migration.report import Migrated
from app.settings.migration.tenants import migrate_entry
from app.settings.migration.validation import Validation
from app.settings.migration.values import seconds
from app.settings.migration.walk import Walk, as_lists
from app.settings.models import EVERYTHING, TARGETS, Settings
from app.settings.problems import error
from app.settings.tenants.overrides import Overrides
from app.settings.tenants.tempo_overrides import is_flat

_TARGETS: Final[Mapping[str, str]] = {
    **{name: name for name in (*TARGETS, *EVERYTHING)},
    "ingester": "live-store",
    "block-builder": "live-store",
    "backend-scheduler": "compactor",
    "backend-worker": "compactor",
    "metrics-generator-no-local-blocks": "metrics-generator",
}
_BUCKETS: Final = ("s3", "gcs", "azure")
_PREFIX: Final = "stretto"
_PROCESSORS: Final[Key] = ("overrides", "defaults", "metrics_generator", "processors")
# client_auth_type of Go: where every client must have a certificate, as it is here with client_ca_file.
_CLIENT_AUTH: Final = "RequireAndVerifyClientCert"


def migrate_settings(text: str, name: str) -> Migrated:
    """A settings file. name: the file's, for places. Raises: SettingsError if it is not YAML"""
    document = read_unexpanded(text, name)
    if not document.readable or document.problems:
        raise error(document.problems)
    found = Migrated(document.places)
    _Settings(found).migrate(document.tree)
    Validation(found, Settings).run()
    found.tree = as_lists(found.tree)
    return found


class _Settings:
    def __init__(self, found: Migrated) -> None:
        self._found = found
        self._blocks_are_built = False  # by Tempo's block builder, and not by its ingesters
        self._walk = Walk(
            found,
            {
                ("target",): self._target,
                ("overrides",): self._overrides,
                ("ingester", "max_block_duration"): self._block_age,
                ("distributor", "receivers"): Receivers(found, self._section).migrate,
                ("server", "http_tls_config"): lambda value: self._tls("http_tls_config", "http_tls_config", value),
                ("server", "grpc_tls_config"): lambda value: self._tls("grpc_tls_config", "internal_tls_config", value),
            },
        )

    def migrate(self, tree: Mapping[str, Any]) -> None:
        """Finds what becomes of each key. tree: Tempo's settings file, as its YAML was read"""
        builder = tree.get("block_builder")
        self._blocks_are_built = isinstance(builder, dict) and "consume_cycle_duration" in builder
        self._section(tree, (), ())
        self._apart_from_tempo()
        self._sasl()
        if not self._found.is_set(_PROCESSORS):
            self._found.put(("metrics_generator", "processors"), ("overrides",), [])
            self._found.note(
                self._found.changed,
                (),
                "metrics_generator.processors: []: without processors in the overrides Tempo makes no metrics, and "
                "Stretto would make them as soon as it has a remote_write",
            )

    def _section(self, tree: Mapping[str, Any], theirs: Key, ours: Key) -> None:
        self._walk.section(tree, theirs, ours)

    def _target(self, value: Any) -> None:
        names = [name.strip() for name in str(value).split(",")]
        ours = list(dict.fromkeys(_TARGETS[name] for name in names if name in _TARGETS))
        for name in names:
            if name not in _TARGETS:
                self._found.note(
                    self._found.manual, ("target",), f"{name[:40]} is no target here; see docs/settings.md"
                )
        if ours and value:
            self._found.put(("target",), ("target",), ",".join(ours))
            if ours != names:
                self._found.note(self._found.changed, ("target",), f"is {','.join(ours)} here")

    def _block_age(self, value: Any) -> None:
        key = ("ingester", "max_block_duration")
        if self._blocks_are_built:
            self._found.note(self._found.dropped, key, "block_builder.consume_cycle_duration counts")
        else:
            self._found.note(self._found.changed, key, "is live_store.block_age_s here")
            converted = seconds(value)
            if converted.manual:
                self._found.note(self._found.manual, key, converted.manual)
            self._found.put(("live_store", "block_age_s"), key, converted.value)

    def _tls(self, theirs: str, ours: str, value: Any) -> None:
        """Go has five ways to ask clients for certificates; here a client either needs one or is not asked."""
        tls = dict(value) if isinstance(value, dict) else {}
        key = ("server", theirs)
        how = tls.pop("client_auth_type", "")
        if tls.get("client_ca_file") and how != _CLIENT_AUTH:
            tls.pop("client_ca_file")
            text = f"every client needs a certificate with it, as with client_auth_type {_CLIENT_AUTH}; set it if so"
            self._found.note(self._found.manual, (*key, "client_ca_file"), text)
        elif how and not tls.get("client_ca_file") and how not in ("NoClientCert", "RequestClientCert"):
            self._found.note(self._found.manual, (*key, "client_auth_type"), "needs client_ca_file here")
        self._section(tls, key, ("server", ours))

    def _overrides(self, value: Any) -> None:
        section = value if isinstance(value, dict) else {}
        flat = {name: item for name, item in section.items() if is_flat(name) and name not in Overrides.model_fields}
        rest = {name: item for name, item in section.items() if name not in flat}
        defaults = rest.pop("defaults", None)
        if flat:
            migrate_entry(self._found, flat, ("overrides",), ("overrides", "defaults"))
        if isinstance(defaults, dict):
            migrate_entry(self._found, defaults, ("overrides", "defaults"), ("overrides", "defaults"))
        if rest.get("per_tenant_override_config"):
            text = "is read as it is, in Tempo's format; `stretto config migrate` makes one of ours of it"
            self._found.note(self._found.changed, ("overrides", "per_tenant_override_config"), text)
        self._section(rest, ("overrides",), ("overrides",))

    def _apart_from_tempo(self) -> None:
        """Tempo's bucket holds Tempo's blocks: ours go below a prefix that Tempo does not use."""
        trace = self._found.tree.get("storage", {}).get("trace", {})
        backend = trace.get("backend")
        for name in _BUCKETS:
            if name not in trace or not trace[name]:
                continue
            theirs = ("storage", "trace", name)
            if name != backend:
                self._found.remove(theirs)
                self._found.note(self._found.dropped, theirs, "is not the backend")
                continue
            old = str(trace[name].pop("prefix", "") or "")
            self._found.put((*theirs, "prefix"), theirs, _PREFIX if old.strip("/") != _PREFIX else f"{_PREFIX}-2")
            text = f"prefix is {trace[name]['prefix']}: Stretto's objects stay apart from Tempo's in the same bucket"
            self._found.note(self._found.changed, theirs, text)

    def _sasl(self) -> None:
        """Tempo's mechanism is PLAIN where only a user is set, and means nothing without one."""
        sasl = self._found.tree.get("kafka", {}).get("sasl", {})
        if sasl.get("username") and not sasl.get("mechanism"):
            self._found.put(("kafka", "sasl", "mechanism"), ("ingest", "kafka", "sasl_username"), "PLAIN")
        elif sasl.get("mechanism") in ("PLAIN", "") and not sasl.get("username"):
            self._found.remove(("kafka", "sasl"))
