"""What a node of a tree of mixtures gives."""

from typing import Any, NamedTuple


class NodeOutput(NamedTuple):
    """Scores of a node and of all below it.

    Attributes:
        logits: float32 `(batch, classes)`.
        probabilities: float32 `(batch, classes)`.
        weights: mixing weights `(batch, children)`; of a leaf `()`.
        children: a `NodeOutput` for each child; of a leaf `()`.
    """

    logits: Any
    probabilities: Any
    weights: Any = ()
    children: tuple = ()
