"""Nodes of a tree of mixtures: their paths, and what a node gives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from youtube8m_mod.errors import UserError

Tensor = Any  # Of the backend that Keras runs on.
Shape = tuple[int | None, ...]  # None where a size is not fixed.


class NodeOutput(NamedTuple):
    """Scores of a node and of all below it.

    Attributes:
        logits: float32 `(batch, classes)`.
        probabilities: float32 `(batch, classes)`.
        weights: mixing weights `(batch, children)`; of a leaf `()`.
        children: a `NodeOutput` for each child; of a leaf `()`.
    """

    logits: Tensor
    probabilities: Tensor
    weights: Tensor = ()
    children: tuple = ()


def child_path(path: str, index: int) -> str:
    """Path of a node's child: its number, after the node's own path."""
    return f"{path}/{index}" if path else str(index)


def level_of(path: str) -> int:
    """Depth of a node: 0 is the root."""
    return path.count("/") + 1 if path else 0


def parse_path(node: str, branching: Sequence[int]) -> list[int]:
    """Numbers on the way from the root to a node of the tree, checked."""
    path = node.split("/") if node else []
    if len(path) > len(branching) or not all(
        part.isdecimal() and int(part) < children for part, children in zip(path, branching)
    ):
        tree = "x".join(map(str, branching)) or "one leaf"
        raise UserError(
            f'node must be a path in the tree ({tree}), as "" or "{"/".join("0" * len(branching))}", got "{node}".'
        )
    return [int(part) for part in path]
