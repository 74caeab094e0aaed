"""What an exception keeps alive: the variables of all functions that it passed through.

An exception that ends a query knows, by its traceback, each array that the query had in its hands. Whoever passes it
on, as a task and the event loop do, keeps them, counted by nobody; where a function that waits for the task is in the
traceback, too, that is a cycle, which only a full garbage collection would end.
"""

import traceback


def free_locals(err: BaseException) -> None:
    """Frees, on this thread, the variables of all functions that have ended with the exception, and with those that it
    came from. What the traceback says, for a log, stays.
    """
    left: list[BaseException] = [err]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
