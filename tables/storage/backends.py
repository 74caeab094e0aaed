"""Opens a storage: obstore's object for the backend of a configuration, with our timeouts and retries."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from obstore import exceptions
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from tables.errors import StorageError
from tables.storage.config import Retry, StorageConfig

_CONNECT_S: Final = 2.0
# Of the time for a request with its retries: a new attempt starts within the first part, and ends within the rest.
RETRIES_SHARE: Final = 0.4
# An attempt that receives nothing for this part of the time is given up.
_SILENCE_SHARE: Final = 0.35


def open_backend(config: StorageConfig, timeout_s: float) -> Any:
    """The store of obstore. timeout_s: for all attempts of a request together

    It sends no request: whether the storage can be used is what `tables.storage.probe` finds out.
    Raises: StorageError if the configuration is wrong
    """
    prefix = config.prefix.strip("/") or None
    options = {**config.options, "retry_config": _retries(config.retry, timeout_s)}
    options["client_options"] = {**options.get("client_options", {}), **_timeouts(timeout_s)}
    try:
        match config.backend:
            case "local":
                folder = Path(config.place)
                folder.mkdir(parents=True, exist_ok=True)
                # automatic_cleanup removes folders that become empty
                return LocalStore(folder / prefix if prefix else folder, automatic_cleanup=True, mkdir=True)
            case "s3":
                return S3Store(config.place, prefix=prefix, **options)
            case "gcs":
                return GCSStore(config.place, prefix=prefix, **options)
            case "azure":
                return AzureStore(config.place, prefix=prefix, **options)
    except (exceptions.BaseError, OSError) as err:
        first = str(err).splitlines()[0]
        raise StorageError(f"cannot open {config.where}: {first}; see `storage.trace` in the settings") from err


def _timeouts(timeout_s: float) -> dict[str, timedelta]:
    return {
        "timeout": timedelta(seconds=(1 - RETRIES_SHARE) * timeout_s),
        "read_timeout": timedelta(seconds=_SILENCE_SHARE * timeout_s),
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, _SILENCE_SHARE * timeout_s)),
    }


def _retries(retry: Retry, timeout_s: float) -> dict[str, Any]:
    longest_s = min(retry.backoff_max_s, 0.1 * timeout_s)
    backoff = {
        # It draws from the range between the two, and panics if that is empty.
        "init_backoff": timedelta(seconds=min(retry.backoff_initial_s, 0.5 * longest_s)),
        "max_backoff": timedelta(seconds=longest_s),
        "base": 2,
    }
    return {
        "max_retries": retry.max_attempts - 1,
        "retry_timeout": timedelta(seconds=RETRIES_SHARE * timeout_s),
        "backoff": backoff,
    }
