"""The tree of a folded model: mixtures of nodes, whose leaves are those of `folded_nodes`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.inference.folded_nodes import Inputs, Settings, dense, float64, fold_leaf, make_variables, norm_map

if TYPE_CHECKING:
    from youtube8m_mod.inference.weights import Weights


def fold_node(
    config: ModelConfig, depth: int, weights: "Weights", settings: Settings
) -> Callable[[Inputs], tuple[tf.Tensor, list[tf.Tensor]]]:
    """The folded form of a node of `config`'s tree: a function of `Inputs`, see below.

    Args:
        config: a `ModelConfig`.
        depth: levels above the node; 0 is the root.
        weights: the `Weights` below the node.
        settings: `Settings`.

    Returns:
        a function of `Inputs` that gives logits, float32 `(batch, classes)`, and the hidden vectors of the leaves below
        in the order of the tree, a list of float32 `(batch, hidden_size)`.
    """
    if depth < len(config.branching):
        return FoldedMixture(config, depth, weights, settings)
    return (settings.leaf or fold_leaf)(config, weights, settings)


class FoldedMixture(tf.Module):
    """A node below the root: its children, folded, and what mixes them."""

    def __init__(self, config: ModelConfig, depth: int, weights: "Weights", settings: Settings):
        super().__init__()
        children = range(config.branching[depth])
        self.nodes = [fold_node(config, depth + 1, weights.below(str(index)), settings) for index in children]
        self.mixing = FoldedMixing(config, len(self.nodes), weights.below("mixing"), settings)

    def __call__(self, inputs: Inputs) -> tuple[tf.Tensor, list[tf.Tensor]]:
        logits, hidden = zip(*(node(inputs) for node in self.nodes))
        return self.mixing(inputs, logits), [vector for vectors in hidden for vector in vectors]


class FoldedMixing(tf.Module):
    """`LogitMixing` with its batch norm and the input's scaling in the kernel; float32."""

    def __init__(self, config: ModelConfig, children: int, weights: "Weights", settings: Settings):
        super().__init__()
        size = config.feature_size
        norm = norm_map(weights.below("norm"), size)
        kernel, bias = dense(float64(weights("kernel", size, children)), weights("bias", children), norm)
        self.kernel, self.bias = make_variables(tf.float32, *dense(kernel, bias, settings.input_map))

    def __call__(self, inputs: Inputs, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        weights = tf.nn.softmax(tf.matmul(inputs.mean, self.kernel) + self.bias)  # (B, E)
        return tf.add_n([weights[:, i, None] * child for i, child in enumerate(logits)])  # (B, C)
