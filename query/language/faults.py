"""What the tree's builder raises: it knows places, not the text; parse.py makes a TraceQLError of it."""

from query.language.ast import At


class Fault(Exception):  # noqa: N818 - internal: it never leaves query/parse.py
    def __init__(self, problem: str, at: At, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.at, self.hint = problem, at, hint


def fault(problem: str, at: At, hint: str = "") -> Fault:
    return Fault(problem, at, hint)
