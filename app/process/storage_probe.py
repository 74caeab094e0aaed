"""Probes the storage at the start of a target: a process whose storage cannot be used ends with the reason."""

import asyncio
import logging
from concurrent.futures import Executor

from app.process.shutdown import end_with_error
from tables.errors import StorageError, UnusableStorage
from tables.storage.probe import StorageProbe
from tables.wall import walled

log = logging.getLogger(__name__)


async def probe_storage(storage_probe: StorageProbe, executor: Executor) -> bool:
    """Probes the storage on the executor. Out: False if it is away, so that it must be probed again

    Ends the process if somebody has to change permissions, settings or the storage before it can be used.
    """
    try:
        await asyncio.get_running_loop().run_in_executor(executor, walled, storage_probe.run)
    except UnusableStorage as err:
        end_with_error(str(err))
    except StorageError as err:
        log.warning("waiting for the storage: %s", err)
        return False
    return True
