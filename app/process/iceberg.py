"""The settings of `storage.iceberg` → the configuration of the Iceberg tables."""

from app.settings import Settings
from app.settings.storage import Trace
from tables.iceberg.tables import IcebergConfig


def iceberg_config(settings: Settings, snapshots_kept_s: float) -> IcebergConfig | None:
    """The configuration; None if it is not enabled.

    snapshots_kept_s: how long the files of replaced blocks stay
    """
    iceberg = settings.storage.iceberg
    if not iceberg.enabled:
        return None
    return IcebergConfig(
        catalog=iceberg.catalog,
        properties={name: value.get_secret_value() for name, value in iceberg.properties.items()},
        local_catalog={"type": "sql", "uri": f"sqlite:///{settings.data_dir / 'iceberg.db'}"},
        file_io=_file_io(settings.storage.trace),
        namespace=iceberg.namespace,
        columns_max=iceberg.columns_max,
        snapshots_kept_s=snapshots_kept_s,
    )


def _file_io(trace: Trace) -> dict[str, str]:
    """How pyiceberg reaches the bucket, by its names. What is unset it finds where the cloud's own tools find it."""
    found: dict[str, str | None] = {}
    match trace.backend:
        case "local":
            pass
        case "s3":
            found = {
                "s3.endpoint": trace.s3.endpoint_url,
                "s3.region": trace.s3.region,
                "s3.access-key-id": trace.s3.access_key,
                "s3.secret-access-key": trace.s3.secret_key.get_secret_value(),
            }
            if trace.s3.endpoint_url and not trace.s3.forcepathstyle:
                found["s3.force-virtual-addressing"] = "true"
        case "gcs":
            found = {"gcs.service.host": trace.gcs.endpoint}
        case "azure":
            found = {
                "adls.account-name": trace.azure.storage_account_name,
                "adls.account-key": trace.azure.storage_account_key.get_secret_value(),
            }
    return {name: value for name, value in found.items() if value}
