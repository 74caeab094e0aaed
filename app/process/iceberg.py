"""The settings of `storage.iceberg` → the configuration of the Iceberg tables."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from app.settings import Settings
from tables.iceberg.tables import IcebergConfig
from tables.storage.object_store import StorageConfig

# Options of the storage, by obstore's names, → properties of pyiceberg.
_SAME: Final[Mapping[str, Mapping[str, str]]] = {
    "local": {},
    "s3": {
        "region": "s3.region",
        "access_key_id": "s3.access-key-id",
        "secret_access_key": "s3.secret-access-key",
        "session_token": "s3.session-token",
    },
    "gcs": {"base_url": "gcs.service.host"},
    "azure": {
        "account_name": "adls.account-name",
        "account_key": "adls.account-key",
        "sas_key": "adls.sas-token",
    },
}


def iceberg_config(settings: Settings, storage: StorageConfig, snapshots_kept_s: float) -> IcebergConfig | None:
    """The configuration; None if it is not enabled.

    storage: where the blocks are. snapshots_kept_s: how long the files of replaced blocks stay
    """
    iceberg = settings.storage.iceberg
    if not iceberg.enabled:
        return None
    return IcebergConfig(
        catalog=iceberg.catalog,
        properties={name: value.get_secret_value() for name, value in iceberg.properties.items()},
        local_catalog={"type": "sql", "uri": f"sqlite:///{settings.data_dir / 'iceberg.db'}"},
        file_io=_file_io(storage),
        namespace=iceberg.namespace,
        columns_max=iceberg.columns_max,
        snapshots_kept_s=snapshots_kept_s,
    )


def _file_io(storage: StorageConfig) -> dict[str, str]:
    """How pyiceberg reaches the bucket. What is not here it finds where the cloud's own tools find it."""
    options = storage.options
    found = {name: str(options[option]) for option, name in _SAME[storage.backend].items() if options.get(option)}
    if storage.backend == "s3" and options.get("endpoint"):
        found |= _s3_endpoint(storage.place, options)
    return found


def _s3_endpoint(bucket: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The endpoint. obstore takes it with the bucket in the host name, if it belongs there; Arrow adds it itself."""
    parts = urlsplit(str(options["endpoint"]))
    if not options.get("virtual_hosted_style_request"):
        return {"s3.endpoint": urlunsplit(parts)}
    host = parts.netloc.removeprefix(f"{bucket}.")
    return {"s3.endpoint": urlunsplit(parts._replace(netloc=host)), "s3.force-virtual-addressing": "true"}
