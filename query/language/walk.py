"""Walks through syntax trees without recursion: a flat chain of a thousand operands is a thousand levels deep."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from query.language import ast

T = TypeVar("T")


_CHILDREN: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    ast.Unary: lambda node: (node.operand,),
    ast.Logic: lambda node: node.operands,
    ast.Arithmetic: lambda node: (node.left, node.right),
    ast.Comparison: lambda node: (node.left, node.right),
    ast.ScalarOp: lambda node: (node.left, node.right),
    ast.MetricsMath: lambda node: (node.left, node.right),
    ast.Ranking: lambda node: (node.of,),
    ast.MetricsFilter: lambda node: (node.of,),
}


def children(node: Any) -> tuple[Any, ...]:
    """The operands of a field expression, of arithmetic with aggregates, or of series; from left to right."""
    of = _CHILDREN.get(type(node))
    return of(node) if of else ()


def fold(root: Any, combine: Callable[[Any, Sequence[T]], T]) -> T:
    """`combine(node, results of its operands)` from the leaves up, operands from left to right."""
    if not children(root):
        return combine(root, ())
    stack: list[tuple[Any, Iterator[Any], list[T]]] = [(root, iter(children(root)), [])]
    while True:
        node, rest, done = stack[-1]
        for child in rest:
            if below := children(child):
                stack.append((child, iter(below), []))
                break
            done.append(combine(child, ()))
        else:
            stack.pop()
            result = combine(node, done)
            if not stack:
                return result
            stack[-1][2].append(result)


def walk(root: Any) -> Iterator[Any]:
    """The node and all below it, each before its operands, from left to right."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def left_chain(root: Any, kind: type[T] | tuple[type[T], ...]) -> tuple[Any, list[T]]:
    """`a op b op c`: a, then the nodes of that kind from the innermost, (a op b), to the root."""
    nodes: list[T] = []
    node = root
    while isinstance(node, kind):
        nodes.append(node)
        node = children(node)[0] if not isinstance(node, ast.SpansetOp) else node.left
    return node, nodes[::-1]
