"""Fuzzes the targets one after the other, each in a process of its own.

    python -m tests.fuzz [--minutes M] [--target NAME …] [--seed N] [--memory-mib N]

The status is 1 where an input showed a fault; it then lies in build/fuzz/<target>/fault. Mend the fault, move the
input to tests/fuzz/seeds/<target>/, and the tests run it again each time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS

_FOLDER = Path("build/fuzz")
_GRACE_S = 120.0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes what reads bytes from outside.")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (default: 1)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may come repeatedly")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-mib", type=int, default=2048)
    parser.add_argument("--plain", action="store_true", help="random mutations, also where atheris is installed")
    given = parser.parse_args(argv)
    faulty = [name for name in given.target or TARGETS if not fuzz(name, given)]
    for name in faulty:
        print(f"{name}: an input shows a fault: {_FOLDER / name / 'fault'}", file=sys.stderr)
    return 1 if faulty else 0


def fuzz(name: str, given: argparse.Namespace) -> bool:
    """Whether no input showed a fault."""
    folder = _FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fault").unlink(missing_ok=True)
    seconds = given.minutes * 60
    command = [sys.executable, "-m", "tests.fuzz.child", name, "--seconds", f"{seconds:g}", "--folder", str(folder)]
    command += ["--seed", str(given.seed), "--memory-mib", str(given.memory_mib)]
    command += ["--plain"] if given.plain else []
    print(f"--- {name}, {seconds:g} s", flush=True)
    # What targets write goes with `own`, however the process ends.
    with (folder / "log").open("wb") as log, tempfile.TemporaryDirectory(prefix="fuzz-") as own:
        env, longest_s = {**os.environ, "TMPDIR": own}, seconds + _GRACE_S
        try:
            done = subprocess.run(command, stdout=log, stderr=log, timeout=longest_s, check=False, env=env)
            status = done.returncode
        except subprocess.TimeoutExpired:
            status = -1
    text = (folder / "log").read_text(errors="replace").splitlines()
    print("\n".join(text[-30:] if status else [line for line in text if "inputs" in line or "exec" in line][-3:]))
    if status and not (folder / "fault").exists():
        # The process was ended from outside or by native code: the input that ran then lies in `current`.
        current = (folder / "current").read_bytes()
        (folder / "fault").write_bytes(current[4 : 4 + int.from_bytes(current[:4], "little")])
    return status == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
