"""URLs of objects, as other tools take them: DuckDB, polars, Spark, Iceberg."""

from pathlib import Path

from tables.storage.object_store import StorageConfig


def object_url(config: StorageConfig, path: str) -> str:
    """The URL of an object, or of everything below it. path: within the prefix; "" is the place itself

    file:///folder/path, s3://bucket/path, gs://bucket/path, abfss://container@account.dfs.core.windows.net/path
    """
    prefix = config.prefix.strip("/")
    within = "/".join(part for part in (prefix, path) if part)
    match config.backend:
        case "local":
            root = f"file://{Path(config.place).resolve().as_posix()}"
        case "s3":
            root = f"s3://{config.place}"
        case "gcs":
            root = f"gs://{config.place}"
        case "azure":
            root = f"abfss://{config.place}@{_azure_host(config)}"
    return f"{root}/{within}" if within else root


def _azure_host(config: StorageConfig) -> str:
    """The account's host for the data-lake protocol: `account.dfs.core.windows.net`."""
    host = str(config.options.get("endpoint", "")).removeprefix("https://").removeprefix("http://").rstrip("/")
    host = host or f"{config.options.get('account_name', '')}.blob.core.windows.net"
    return host.replace(".blob.", ".dfs.", 1)
