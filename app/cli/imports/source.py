"""Where Tempo's bucket is, and how to reach it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.cli.imports.errors import ImportFailed
from app.process.storage import storage_config
from app.settings import load
from app.settings.environment import CONFIG
from app.settings.keys import VARIABLE_PREFIX, variable
from tables.storage.object_store import StorageConfig

# What the URL says, whatever a variable says of our own bucket.
_TRACE: Final = ("storage", "trace")
_PLACES: Final = frozenset(
    variable((*_TRACE, *place))
    for place in (
        ("backend",),
        ("local", "path"),
        ("s3", "bucket"),
        ("s3", "prefix"),
        ("gcs", "bucket_name"),
        ("gcs", "prefix"),
        ("azure", "container_name"),
        ("azure", "prefix"),
    )
)
# A whole row group is read at once.
_READ_S: Final = 300.0


def source_config(bucket: str, settings_file: Path | None, environ: Mapping[str, str], cwd: Path) -> StorageConfig:
    """The storage of Tempo's blocks.

    bucket: a folder, or file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
    settings_file: a settings file whose `storage.trace` says how to reach it: endpoint, keys, account …; None: as ours
    Raises: ImportFailed, SettingsError
    """
    if "://" not in bucket:
        bucket = Path(cwd, bucket).resolve().as_uri()
    if settings_file is None:
        kept = {name: value for name, value in environ.items() if name not in _PLACES}
    else:
        # The other variables are of our own storage.
        kept = {name: value for name, value in environ.items() if not name.startswith(VARIABLE_PREFIX)}
        kept[CONFIG] = str(settings_file)
    config = storage_config(load({**kept, "STORAGE_URL": bucket}, cwd).storage.trace)
    if config.backend == "local" and not Path(config.place).is_dir():
        raise ImportFailed(f"{config.place} is no folder; name the one that has a folder for each of Tempo's tenants")
    return replace(config, read_timeout_s=max(config.read_timeout_s, _READ_S))
