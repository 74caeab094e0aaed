"""One child process: in a session of its own, tied to this process's life, its output in a log file."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from app.standalone.errors import StandaloneError
from app.standalone.output import LogFile, OutputEcho, Show, pump

_TETHER: Final = Path(__file__).with_name("tether.py")
_LAST_WORDS_S: Final = 1.0  # for the rest of the output, after the process has ended


@dataclass(frozen=True, slots=True)
class Command:
    name: str  # as the operator reads it: "kafka", "worker"
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    show: Show = "warnings"  # what of its output appears on the terminal


class Child:
    """Start it, wait for its end, stop it; then it can be started again."""

    def __init__(self, command: Command, say: Callable[[str], None]) -> None:
        self.command = command
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def start(self) -> None:
        """Start the process. Not a coroutine: nothing can come between the start and the note of the pid.

        To be called in the main thread: on Linux the child's life is tied to the thread that starts it.
        """
        assert not self.running, f"{self.command.name} runs already"
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own command lines
                tied(self.command.argv),
                env=dict(self.command.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A Ctrl-C on the terminal reaches only us: we stop the children in the right order.
                start_new_session=True,
            )
        except OSError as err:
            self._ended.cancel()
            raise StandaloneError(f"cannot start {self.command.name} ({self.command.argv[0]}): {err}") from err
        assert self._process.stdout is not None
        watch = threading.Thread(
            target=self._watch,
            args=(self._process, self._process.stdout, loop, self._ended),
            name=f"watch-{self.command.name}",
            daemon=True,
        )
        watch.start()

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        stdout: BinaryIO,
        loop: asyncio.AbstractEventLoop,
        ended: asyncio.Future[int],
    ) -> None:
        command = self.command
        log, echo = LogFile(command.log), OutputEcho(command.name, self._say, show=command.show)
        reader = threading.Thread(target=_copy, args=(stdout, log, echo), name=f"read-{self.command.name}", daemon=True)
        reader.start()
        code = process.wait()
        # A grandchild may hold the pipe open: do not wait for its end for ever.
        reader.join(_LAST_WORDS_S)
        try:
            loop.call_soon_threadsafe(_settle, ended, code)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    async def wait(self) -> int:
        """The exit code, once the process has ended; negative: the signal that ended it."""
        assert self._ended is not None, f"{self.command.name} was never started"
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then after `grace_s` SIGKILL for the whole session."""
        if not self.running:
            return
        assert self._process is not None
        self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            self._say(f"{self.command.name} (pid {self.pid}) did not stop within {grace_s:.1f} s: killed")
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """SIGKILL for the process and whatever it has started."""
        if self.running:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def _copy(stdout: BinaryIO, log: LogFile, echo: OutputEcho) -> None:
    with stdout:
        pump(stdout, log, echo)
    log.close()


def _settle(ended: asyncio.Future[int], code: int) -> None:
    if not ended.done():
        ended.set_result(code)


def tied(argv: tuple[str, ...], platform: str = sys.platform) -> list[str]:
    """`argv`, on Linux behind the helper that ties its life to ours; no other system offers it."""
    if platform != "linux":
        return list(argv)
    # -I and -S: nothing of the environment and no site-packages, for a start within 20 ms.
    return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *argv]


def describe(code: int) -> str:
    """An exit code in words: `exit code 1`, `signal SIGKILL`."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
