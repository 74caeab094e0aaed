"""The wall around native code: a failure of native code fails one call, no more.

A panic of Rust code reaches Python as a BaseException (pyo3's PanicException), which `except Exception` does not catch.
It would end the task with all of its requests. So calls that pass clients' bytes to native code, and work that is given
to a thread, go through `walled`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from prometheus_client import Counter

P = ParamSpec("P")
T = TypeVar("T")

PANICS: Final = Counter("stretto_native_panics_total", "Calls of native code that ended in a panic.")

# These are no faults: whoever raises them wants the task, the generator or the process to end.
ENDINGS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


class NativePanic(RuntimeError):  # noqa: N818  # as Rust calls it
    """Native code panicked instead of returning an error. The text is the panic's message."""


def is_fault(err: BaseException) -> bool:
    """Whether the error is a fault of the work that raised it: an Exception or a panic, none of ENDINGS."""
    return not isinstance(err, ENDINGS)


def walled(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the call. Exceptions pass through; a panic becomes one.

    Raises: NativePanic instead of a BaseException that is neither an Exception nor one of ENDINGS
    """
    try:
        return call(*args, **kwargs)
    except (Exception, *ENDINGS):
        raise
    except BaseException as err:  # noqa: BLE001  # this is the wall
        PANICS.inc()
        # Without the cause: its traceback would keep the bytes alive.
        raise NativePanic(f"{type(err).__name__}: {str(err)[:200]}") from None
