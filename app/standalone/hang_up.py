"""SIGHUP at `stretto run`: settings are to be read again, or the terminal is gone."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.errors import SettingsError
from app.settings import Settings
from app.settings.changes import changed, names
from app.settings.keys import Key
from app.standalone.child import Child

# What the workers get from us in their environment: a change of the file does not reach them.
_OURS: Final[frozenset[Key]] = frozenset(
    {("target",), ("data_dir",), ("workers",), ("kafka", "address"), ("kafka", "partitions")}
)


def has_terminal() -> bool:
    """Whether this process has a terminal that is there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@dataclass(slots=True)
class HangUp:
    """What SIGHUP means. settings: those of the start; read: them as they are now, raises SettingsError

    A terminal that is closed sends it, too: then the run ends, as it would without us.
    """

    settings: Settings
    read: Callable[[], Settings]
    say: Callable[[str], None]
    had_terminal: bool = field(default_factory=has_terminal)

    def is_end(self) -> bool:
        """Whether the terminal is gone in which the run was started."""
        return self.had_terminal and not has_terminal()

    def reload(self, workers: Sequence[Child]) -> None:
        """Lets the workers read their settings again; they log what changed, and what is wrong."""
        try:
            waiting = [key for key in changed(self.settings, self.read()) if key in _OURS]
        except SettingsError as err:
            self.say(f"The settings are wrong; those before stay in use:\n{err}")
        else:
            self.say("Reading the settings again.")
            if waiting:
                self.say(f"Needs a restart of `stretto run`: {names(waiting)}")
        for worker in workers:
            worker.send(signal.SIGHUP)
