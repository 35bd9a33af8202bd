"""The NeXtVLAD model (Fig. 5) and the deep-bag-of-frames baseline: the leaves of a tree."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.classifiers import LogisticClassifier, MixtureOfExpertsClassifier
from youtube8m_mod.layers.context_gating import ContextGating
from youtube8m_mod.layers.deep_bag_of_frames import DeepBagOfFrames
from youtube8m_mod.layers.nextvlad import NeXtVLAD
from youtube8m_mod.layers.projection import Projection
from youtube8m_mod.overrides import from_dict, to_dict
from youtube8m_mod.tree import NodeOutput, Shape, Tensor


def pooling_name(feature: str) -> str:
    """The name of a feature's `NeXtVLAD`; MediaPipe's features have names with slashes."""
    return f"{feature.replace('/', '.')}_vlad"


class Leaf(keras.layers.Layer):
    """A model at a leaf of the tree: a trunk, and the `classifier` on its features."""

    def trunk(self) -> list[keras.layers.Layer]:
        """The layers below the classifier."""
        raise NotImplementedError

    def set_unbiased_moving_variance(self, unbiased: bool) -> None:
        """Whether the trunk's batch norms have this accident of the original's; see `BatchNormalization`."""
        raise NotImplementedError

    def leaves(self) -> list[keras.layers.Layer]:
        """This leaf; a `Mixture` gives those below it."""
        return [self]

    @property
    def regularized_weights(self) -> list[keras.Variable]:
        return self.classifier.regularized_weights

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": to_dict(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Leaf":
        return cls(**config | {"config": from_dict(ModelConfig, config["config"], "the configuration")})


@keras.saving.register_keras_serializable("youtube8m_mod")
class NeXtVLADModel(Leaf):
    """A NeXtVLAD pooling for each feature, a hidden layer, context gating, a logistic classifier (Fig. 5).

    Args:
        config: a `ModelConfig` with pooling "nextvlad".
        dropout: rate on the pooled features.
        unbiased_moving_variance: of the gating's batch norm; an accident of the original's mixtures.
        momentum: of the batch norms' moving averages.
        seed: of the dropout.

    Call arguments:
        frames: scaled features `(batch, frames, features)`.
        num_frames: `(batch,)`, frames to attend to; None: all.

    Returns:
        a `NodeOutput` without children.
    """

    def __init__(
        self,
        config: ModelConfig,
        dropout: float = 0.0,
        unbiased_moving_variance: bool = False,
        momentum: float = 0.999,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.config = config
        self.poolings = [
            NeXtVLAD(groups, clusters, config.expansion, momentum=momentum, dtype=policy, name=pooling_name(name))
            for name, _, groups, clusters in config.streams
        ]
        self.dropout = keras.layers.Dropout(dropout, seed=seed, dtype=policy)
        self.hidden = Projection(config.hidden_size, name="hidden", dtype=policy)
        self.hidden_norm = BatchNormalization(momentum=momentum, name="hidden_norm", dtype=policy)
        self.gating = ContextGating(
            config.gating_reduction, unbiased_moving_variance, momentum, name="gating", dtype=policy
        )
        self.classifier = LogisticClassifier(config.num_classes, name="classifier", dtype=policy)

    def build(self, frames_shape: Shape) -> None:
        width = 0
        for pooling, size in zip(self.poolings, self.config.feature_sizes):
            pooling.build((None, None, size))
            width += pooling.group_width * pooling.clusters
        self.hidden.build((None, width))
        self.hidden_norm.build((None, self.config.hidden_size))
        self.gating.build((None, self.config.hidden_size))
        self.classifier.build((None, self.config.hidden_size))

    def call(self, frames: Tensor, num_frames: Tensor | None = None, training: bool | None = None) -> NodeOutput:
        return NodeOutput(*self.classifier(self.embed(frames, num_frames, training)))

    def embed(self, frames: Tensor, num_frames: Tensor | None = None, training: bool | None = None) -> Tensor:
        """The hidden vector that the classifier reads, `(batch, hidden_size)`; arguments as of a call."""
        frame_mask = None
        if num_frames is not None:
            frame_mask = ops.arange(ops.shape(frames)[1], dtype="int32") < ops.cast(num_frames, "int32")[:, None]
        pooled, start = [], 0
        for pooling, size in zip(self.poolings, self.config.feature_sizes):
            pooled.append(pooling(frames[..., start : start + size], frame_mask, training=training))
            start += size
        hidden = self.dropout(ops.concatenate(pooled, axis=1), training=training)
        hidden = self.hidden_norm(self.hidden(hidden), training=training)
        return self.gating(hidden, training=training)

    def trunk(self) -> list[keras.layers.Layer]:
        return [*self.poolings, self.hidden, self.hidden_norm, self.gating]

    def set_unbiased_moving_variance(self, unbiased: bool) -> None:
        self.gating.norm.unbiased_moving_variance = unbiased

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dropout": self.dropout.rate,
            "unbiased_moving_variance": self.gating.norm.unbiased_moving_variance,
            "momentum": self.hidden_norm.momentum,
            "seed": self.dropout.seed,
        }


@keras.saving.register_keras_serializable("youtube8m_mod")
class DBoFModel(Leaf):
    """The starter code's baseline: a deep bag of frames and a mixture-of-experts classifier (Table 1).

    Arguments and results as `NeXtVLADModel`; there is no dropout, and frames are dequantised only.
    """

    def __init__(
        self,
        config: ModelConfig,
        unbiased_moving_variance: bool = False,
        momentum: float = 0.999,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.bag = DeepBagOfFrames(
            config.clusters,
            config.hidden_size,
            config.sampled_frames,
            seed=seed,
            name="bag",
            unbiased_moving_variance=unbiased_moving_variance,
            momentum=momentum,
            dtype=policy,
        )
        self.classifier = MixtureOfExpertsClassifier(
            config.num_classes, config.experts, name="classifier", dtype=policy
        )
        self.config = config

    def build(self, frames_shape: Shape) -> None:
        self.bag.build((None, None, self.config.feature_size))
        self.classifier.build((None, self.config.hidden_size))

    def call(self, frames: Tensor, num_frames: Tensor | None = None, training: bool | None = None) -> NodeOutput:
        return NodeOutput(*self.classifier(self.embed(frames, num_frames, training)))

    def embed(self, frames: Tensor, num_frames: Tensor | None = None, training: bool | None = None) -> Tensor:
        """The hidden vector that the classifier reads, `(batch, hidden_size)`; arguments as of a call."""
        return self.bag(frames, num_frames, training=training)

    def trunk(self) -> list[keras.layers.Layer]:
        return [self.bag]

    def set_unbiased_moving_variance(self, unbiased: bool) -> None:
        for norm in (self.bag.input_norm, self.bag.cluster_norm, self.bag.hidden_norm):
            norm.unbiased_moving_variance = unbiased

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "unbiased_moving_variance": self.bag.hidden_norm.unbiased_moving_variance,
            "momentum": self.bag.momentum,
            "seed": self.bag.seed,
        }
