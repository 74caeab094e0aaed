"""The catalog of the Iceberg tables: how it is opened, and how a tenant's table is found or made."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tables.errors import StorageError
from tables.iceberg.columns import base_schema
from tables.schema import SCHEMA_KEY, SCHEMA_VERSION
from tables.storage.object_store import ObjectStore
from tables.storage.urls import object_url

FOLDER: Final = "iceberg"  # in the bucket, beside `blocks`
NAME_MAPPING: Final = "schema.name-mapping.default"
# One of these says which catalog it is.
_CATALOG: Final = frozenset({"type", "uri", "py-catalog-impl"})
_METADATA: Final = re.compile(r"(?P<number>[0-9]+)-[0-9a-f-]+\.metadata\.json")
_PROPERTIES: Final = {
    "format-version": "2",
    # Of two that add the same file one must fail, and look again: pyiceberg's own retry would add it twice.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # pyiceberg carries manifests whose files are all gone from snapshot to snapshot, until it merges them.
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "16",
    # The files belong to the blocks: no engine may delete them when it tidies this table.
    "gc.enabled": "false",
    SCHEMA_KEY: str(SCHEMA_VERSION),
}


class IcebergError(StorageError):
    """The Iceberg catalog cannot be used, or refused a change: the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class IcebergConfig:
    """Where Iceberg tables are.

    catalog: its name; pyiceberg's own configuration may say more under it
    properties: of the catalog, by pyiceberg's names
    local_catalog: properties of the catalog to use if neither `properties` nor pyiceberg's configuration name one
    file_io: properties for access to the bucket, which both of these override
    columns_max: columns of a table
    snapshots_kept_s: seconds for which an old snapshot stays: as long as the files of replaced blocks
    """

    catalog: str = "stretto"
    properties: Mapping[str, str] = field(default_factory=dict)
    local_catalog: Mapping[str, str] = field(default_factory=dict)
    file_io: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "stretto"
    columns_max: int = 5000
    snapshots_kept_s: float = 3600.0


def open_catalog(config: IcebergConfig) -> Any:
    """A pyiceberg Catalog. Raises: IcebergError"""
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config
    except ImportError as err:
        raise IcebergError(
            "storage.iceberg is enabled, but pyiceberg is not installed: install stretto with its extra `iceberg`"
        ) from err
    try:
        configured = Config().get_catalog_config(config.catalog) or {}
        named = configured.keys() | config.properties.keys()
        properties = {name: value for name, value in config.file_io.items() if name not in configured}
        if not named & _CATALOG:
            properties |= config.local_catalog
        return load_catalog(config.catalog, **{**properties, **config.properties})
    except Exception as err:  # whatever the catalog's client raises
        raise IcebergError(f"cannot open the Iceberg catalog {config.catalog}: {first_line(err)}") from err


def load_table(catalog: Any, store: ObjectStore, config: IcebergConfig, tenant: str) -> Any:
    """The tenant's table, which is made if it is not there.

    If the catalog was lost (a SQLite file on another machine), the table that its last metadata in the bucket
    describes is registered again.
    """
    from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError

    identifier = (config.namespace, tenant)
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(config.namespace)
    location = object_url(store.config, f"{FOLDER}/{tenant}")
    try:
        if (last := _last_metadata(store, tenant)) is not None:
            return catalog.register_table(identifier, object_url(store.config, last))
        made = catalog.create_table(
            identifier, base_schema(), location=location, properties={**_PROPERTIES, "stretto.tenant": tenant}
        )
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)
    return made


def _last_metadata(store: ObjectStore, tenant: str) -> str | None:
    """The path of the newest metadata of the tenant's table in the bucket."""
    newest: tuple[int, float, str] | None = None
    for path, stamp in store.objects(f"{FOLDER}/{tenant}/metadata"):
        if found := _METADATA.fullmatch(path.rpartition("/")[2]):
            newest = max(newest or (-1, 0.0, ""), (int(found["number"]), stamp.modified_s, path))
    return newest[2] if newest else None


def write_hint(store: ObjectStore, table: Any, tenant: str) -> None:
    """Says beside the table's metadata which is the newest, for engines that read a folder without a catalog."""
    folder = f"{FOLDER}/{tenant}/metadata"
    within, _, name = table.metadata_location.rpartition("/")
    if within == object_url(store.config, folder):
        store.put(f"{folder}/version-hint.text", name.removesuffix(".metadata.json").encode())


def first_line(err: Exception) -> str:
    """What an error says, without the pages that some libraries add."""
    return (str(err).splitlines() or [type(err).__name__])[0][:300]
