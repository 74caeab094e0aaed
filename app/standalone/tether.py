"""Runs a command that dies with the process that started it, even after kill -9. Run as a script, never imported.

python tether.py PARENT_PID COMMAND…

Linux only. A helper that ends in `exec`: subprocess's `preexec_fn` may deadlock if there are threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives exec


def main(parent_pid: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # A reload is for those that are ready to read their settings again; the others have just read them.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The parent may have died before the call; then nobody would ever send the signal.
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
