"""Reads the settings again while the process runs: on SIGHUP, and when the API is asked to."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import faust
from prometheus_client import Gauge

from app.errors import SettingsError
from app.process.overrides import OverridesFile
from app.settings import Settings
from app.settings.changes import changed, is_live, names, with_live
from app.settings.keys import Key

log = logging.getLogger(__name__)

GOOD: Final = Gauge(
    "stretto_config_last_reload_successful", "Whether the last reading of the settings succeeded (1 or 0)."
)
GOOD_AT: Final = Gauge(
    "stretto_config_last_reload_success_timestamp_seconds",
    "Unix time, in seconds, of the last reading of the settings that succeeded.",
)
WAITING: Final = Gauge(
    "stretto_config_settings_waiting_for_restart",
    "Settings in the file that differ from those in use and need a restart.",
)
# As Python's logging calls them.
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did. error: what is wrong with the files; "" if nothing. applied, waiting: settings that changed:
    in use now, or after a restart only
    """

    error: str = ""
    applied: list[Key] = field(default_factory=list)
    waiting: list[Key] = field(default_factory=list)

    def __str__(self) -> str:
        if self.error:
            return f"the settings are wrong; those before stay in use:\n{self.error}"
        lines = [f"settings read again; changed: {names(self.applied) or 'none'}"]
        if self.waiting:
            lines.append(f"needs a restart: {names(self.waiting)}")
        return "\n".join(lines)


class SettingsReload:
    """One for a process. settings: those in use"""

    def __init__(self, settings: Settings, read: Callable[[], Settings], overrides: OverridesFile) -> None:
        """read: the settings as the files and the environment say them now. Raises: SettingsError"""
        self.settings = settings
        self._read, self._overrides = read, overrides
        self._uses: list[Callable[[Settings], None]] = []
        self._lock = asyncio.Lock()
        GOOD.set(1)
        GOOD_AT.set(time.time())

    def use(self, use: Callable[[Settings], None]) -> None:
        """Adds what is called on the event loop with the settings in use after each reload; it cannot fail."""
        self._uses.append(use)

    async def reload(self) -> Reloaded:
        """Reads settings and overrides again. If one of them is wrong, nothing changes."""
        async with self._lock:
            try:
                found, effective = await asyncio.to_thread(self._load)
            except SettingsError as err:
                GOOD.set(0)
                result = Reloaded(error=str(err))
                log.error("%s", result)
                return result
            applied = [key for key in changed(self.settings, effective) if is_live(key)]
            waiting = changed(effective, found)
            self.settings = effective
            if ("log_level",) in applied:  # else whoever has started the process may have chosen another
                logging.getLogger().setLevel(_LEVELS[effective.log_level])
            for use in self._uses:
                use(effective)
            GOOD.set(1)
            GOOD_AT.set(time.time())
            WAITING.set(len(waiting))
            result = Reloaded(applied=applied, waiting=waiting)
            log.log(logging.WARNING if waiting else logging.INFO, "%s", result)
            return result

    def _load(self) -> tuple[Settings, Settings]:
        """The settings of the files, and what of them can be in use. On a thread: overrides may be large."""
        found = self._read()
        effective = with_live(self.settings, found)
        self._overrides.use(effective)
        return found, effective


class ReloadOnSignal(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """SIGHUP reloads the settings of this process."""

    def __init__(self, reload: SettingsReload, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reload = reload
        self._tasks: set[asyncio.Task[Any]] = set()

    async def on_start(self) -> None:
        """Takes the signal, where the loop can: in the main thread, and not on Windows."""
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_signal)

    async def on_stop(self) -> None:
        """From now on the signal is ignored: the process ends by itself."""
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self) -> None:
        task = asyncio.ensure_future(self._reload.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
