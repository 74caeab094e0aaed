"""One child process in its own session. It dies with this process, and a log file gets its output."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
    """A child process that can be started, awaited, stopped, and started again."""

    def __init__(self, command: Command, say: Callable[[str], None], shared_log: LogFile | None = None) -> None:
        """shared_log: the log of several children, in which each line begins with the child's name; None: the log is
        this child's alone
        """
        self.command = command
        self._say = say
        self._shared_log = shared_log
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def start(self) -> None:
        """Starts the process. Not a coroutine, so that nothing happens between the start and the note of its pid.

        Call it in the main thread: on Linux the child dies with the thread that starts it.
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
        echo = OutputEcho(command.name, self._say, show=command.show)
        copy = partial(_copy, stdout, echo, command, self._shared_log)
        reader = threading.Thread(target=copy, name=f"read-{command.name}", daemon=True)
        reader.start()
        code = process.wait()
        # A grandchild may hold the pipe open: do not wait for its end for ever.
        reader.join(_LAST_WORDS_S)
        try:
            loop.call_soon_threadsafe(_settle, ended, code)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    async def wait(self) -> int:
        """The exit code, once the process has ended; negative: the number of the signal."""
        assert self._ended is not None, f"{self.command.name} was never started"
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """Sends SIGTERM, then after `grace_s` SIGKILL to the whole session."""
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

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it runs."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Sends SIGKILL to the process and everything that it has started."""
        if self.running:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def _copy(stdout: BinaryIO, echo: OutputEcho, command: Command, shared_log: LogFile | None) -> None:
    with stdout:
        if shared_log is not None:
            pump(stdout, shared_log, echo, f"{command.name} | ".encode())
            return
        log = LogFile(command.log)
        pump(stdout, log, echo)
    log.close()


def _settle(ended: asyncio.Future[int], code: int) -> None:
    if not ended.done():
        ended.set_result(code)


def tied(argv: tuple[str, ...], platform: str = sys.platform) -> list[str]:
    """`argv`, on Linux behind the helper that makes it die with this process; other systems have no such means."""
    if platform != "linux":
        return list(argv)
    # -I and -S: nothing of the environment and no site-packages, for a start within 20 ms.
    return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *argv]


def describe(code: int) -> str:
    """An exit code in words: `exit code 1`, `signal SIGKILL`."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
