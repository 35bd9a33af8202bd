"""A mixture: a node that mixes the logits of its children (Fig. 6; Fig. 7 is two levels of it)."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.layers.logit_mixing import LogitMixing
from youtube8m_mod.models.nextvlad import DBoFModel, NeXtVLADModel
from youtube8m_mod.tree import NodeOutput, Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class Mixture(keras.layers.Layer):
    """A node of the tree: its children are leaves or mixtures.

    Args:
        children: layers that give a `NodeOutput`.
        momentum: of the mixing net's moving averages; see `LogitMixing`.

    Call arguments:
        frames: scaled features `(batch, frames, features)`.
        num_frames: `(batch,)`, frames to attend to; None: all.

    Returns:
        a `NodeOutput` of the whole subtree.
    """

    def __init__(self, children: Iterable[keras.layers.Layer], momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.nodes = list(children)
        self.mixing = LogitMixing(len(self.nodes), momentum, name="mixing")

    def build(self, frames_shape: Shape) -> None:
        for node in self.nodes:
            if not node.built:
                node.build(frames_shape)
        self.mixing.build(frames_shape)

    def call(self, frames: Tensor, num_frames: Tensor | None = None, training: bool | None = None) -> NodeOutput:
        return self.mix(frames, [node(frames, num_frames, training=training) for node in self.nodes], training)

    def mix(self, frames: Tensor, outputs: Sequence[NodeOutput], training: bool | None = None) -> NodeOutput:
        """The node's output from those of its children."""
        logits, weights = self.mixing(frames, [output.logits for output in outputs], training=training)
        return NodeOutput(logits, ops.sigmoid(logits), weights, tuple(outputs))

    def leaves(self) -> list[keras.layers.Layer]:
        """The leaves below; no property: Keras walks through those when it saves a model."""
        return [leaf for node in self.nodes for leaf in node.leaves()]

    @property
    def regularized_weights(self) -> list[keras.Variable]:
        return [weight for node in self.nodes for weight in node.regularized_weights]

    def get_config(self) -> dict[str, Any]:
        children = [keras.saving.serialize_keras_object(node) for node in self.nodes]
        for child in children:
            child.pop("build_config", None)  # They are built with the mixture.
        return super().get_config() | {"children": children, "momentum": self.mixing.momentum}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Mixture":
        children = [keras.saving.deserialize_keras_object(child) for child in config["children"]]
        return cls(**config | {"children": children})


def make_node(config: ModelConfig, depth: int, name: str, leaf_options: dict[str, Any]) -> keras.layers.Layer:
    """The node of `config`'s tree at a depth: a leaf, or a `Mixture` of nodes one level deeper.

    Args:
        config: a `ModelConfig`.
        depth: levels above the node; 0 is the root.
        name: of the node: its number among its siblings.
        leaf_options: keyword arguments of the leaves, `momentum` and `dtype` of the mixtures too; `seed` must be an
            iterator of seeds.
    """
    if depth < len(config.branching):
        children = [make_node(config, depth + 1, str(index), leaf_options) for index in range(config.branching[depth])]
        return Mixture(children, leaf_options["momentum"], name=name, dtype=leaf_options["dtype"])
    options = leaf_options | {"seed": next(leaf_options["seed"])}
    if config.pooling == "dbof":
        return DBoFModel(
            config,
            name=name,
            seed=options["seed"],
            dtype=options["dtype"],
            momentum=options["momentum"],
        )
    return NeXtVLADModel(config, name=name, **options)
