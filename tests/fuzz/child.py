"""Fuzzes one target in this process, under limits of memory and time.

    python -m tests.fuzz.child TARGET --seconds 60 --folder FOLDER [--runs N] [--seed N] [--memory-mib N]

Memory that grows with the number of random inputs is a fault, too; none of them is to blame alone.

With atheris installed coverage guides the mutations; otherwise they are random. FOLDER/inputs keeps inputs that reach
new code; FOLDER/fault holds the input that broke something: also after an abort of the process, since the input is
written there before it runs.
"""

import argparse
import faulthandler
import hashlib
import importlib.util
import logging
import mmap
import resource
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.held import held_bytes

INPUT_S_MAX: Final = 20.0
# By how much memory may grow in the second half of a run. In the first one caches fill.
GROWN_BYTES_MAX: Final = 4 << 20
_PACKAGES: Final = ("app", "agents", "query", "tables")
_CURRENT_BYTES: Final = 1 << 20


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.child")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=0, help="so many inputs, and no more (0: until the time is over)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--memory-mib", type=int, default=2048, help="beyond what the process takes at its start")
    parser.add_argument("--plain", action="store_true", help="random mutations, also where atheris is installed")
    given = parser.parse_args(argv)
    faulthandler.enable()
    guided = not given.plain and importlib.util.find_spec("atheris") is not None
    if guided:
        import atheris

        with atheris.instrument_imports(include=list(_PACKAGES)):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    target = TARGETS[given.target]
    logging.disable(logging.CRITICAL)  # what a target logs of each input is not of interest
    _limit_memory(given.memory_mib)
    fuzzer = Fuzzer(target, given.folder, given.seed)
    if guided:
        return fuzzer.guided(given.seconds, given.runs)
    return fuzzer.plain(given.seconds, given.runs)


def _limit_memory(more_mib: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (more_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class Fuzzer:
    """Runs a target on inputs, and remembers the one that runs."""

    def __init__(self, target, folder: Path, seed: int) -> None:
        self._target, self._folder, self._rng = target, folder, Random(seed)
        self._inputs = folder / "inputs"
        self._inputs.mkdir(parents=True, exist_ok=True)
        with (folder / "current").open("wb") as file:
            file.truncate(_CURRENT_BYTES)
        file = (folder / "current").open("r+b")
        self._current = mmap.mmap(file.fileno(), _CURRENT_BYTES)
        file.close()
        self.runs = 0

    def run(self, data: bytes) -> None:
        """Raises where the input shows a fault. An input that takes too long ends the process."""
        self._current[:4] = len(data).to_bytes(4, "little")
        self._current[4 : 4 + len(data)] = data
        self.runs += 1
        faulthandler.dump_traceback_later(INPUT_S_MAX, exit=True)
        try:
            self._target.run(data)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def plain(self, seconds: float, runs: int) -> int:
        """Random mutations of the seeds. 1 where an input shows a fault."""
        from benchmarks.hostile.mutate import mutate, mutate_message

        seeds, words = self._target.seeds(), self._target.words
        change = mutate_message if self._target.protobuf else mutate
        began_s = time.monotonic()
        half = None
        while time.monotonic() < began_s + seconds and (not runs or self.runs < runs):
            if half is None and (time.monotonic() > began_s + seconds / 2 or (runs and self.runs >= runs // 2)):
                half = self.runs, held_bytes()
            data = (
                seeds[self.runs] if self.runs < len(seeds) else change(self._rng.choice(seeds), self._rng, words, seeds)
            )
            try:
                self.run(data)
            except BaseException:  # noqa: BLE001  # a panic of native code is no Exception
                self._keep(data)
                traceback.print_exc()
                return 1
        print(f"{self._target.name}: {self.runs} inputs", flush=True)
        if half is not None and (grown := held_bytes() - half[1]) > GROWN_BYTES_MAX:
            print(f"memory has grown by {grown >> 20} MiB in {self.runs - half[0]} inputs", file=sys.stderr)
            return 1
        return 0

    def guided(self, seconds: float, runs: int) -> int:
        """Mutations that coverage guides. Does not return."""
        import atheris

        from benchmarks.hostile.mutate import mutate_message

        for data in self._target.seeds():
            (self._inputs / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        seeds, words = self._target.seeds(), self._target.words

        def run(data: bytes) -> None:
            try:
                self.run(data)
            except BaseException:
                self._keep(data)
                raise

        def change(data: bytes, max_size: int, seed: int) -> bytes:
            rng = Random(seed)
            if rng.random() < 0.3:
                return bytes(atheris.Mutate(data, max_size))
            return mutate_message(data, rng, words, seeds)[:max_size]

        dictionary = self._folder / "words.dict"
        escaped = ["".join(rf"\x{byte:02x}" for byte in word) for word in words]
        dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
        flags = [
            sys.argv[0],
            str(self._inputs),
            f"-max_total_time={max(1, round(seconds))}",
            f"-runs={runs or -1}",
            f"-dict={dictionary}",
            "-max_len=65536",
            "-rss_limit_mb=0",
            f"-artifact_prefix={self._folder}/",
            "-print_final_stats=1",
        ]
        atheris.Setup(flags, run, **({"custom_mutator": change} if self._target.protobuf else {}))
        atheris.Fuzz()
        return 0

    def _keep(self, data: bytes) -> None:
        (self._folder / "fault").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
