"""Walks through syntax trees without recursion: a flat chain of a thousand operands is a thousand levels deep."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from query.language import ast

T = TypeVar("T")


def children(node: Any) -> tuple[Any, ...]:
    """The operands of a field expression, of arithmetic with aggregates, or of series; from left to right."""
    match node:
        case ast.Unary():
            return (node.operand,)
        case ast.Logic():
            return node.operands
        case ast.Arithmetic() | ast.Comparison() | ast.ScalarOp() | ast.MetricsMath():
            return (node.left, node.right)
        case ast.Ranking() | ast.MetricsFilter():
            return (node.of,)
    return ()


def fold(root: Any, combine: Callable[[Any, Sequence[T]], T]) -> T:
    """`combine(node, results of its operands)` from the leaves up, operands from left to right."""
    stack: list[tuple[Any, Iterator[Any], list[T]]] = [(root, iter(children(root)), [])]
    while True:
        node, rest, done = stack[-1]
        child = next(rest, None)
        if child is not None:
            stack.append((child, iter(children(child)), []))
            continue
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
