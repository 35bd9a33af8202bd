"""The layers of the paper's models, in `keras.ops` only: they run under every backend of Keras."""

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.classifiers import LogisticClassifier, MixtureOfExpertsClassifier
from youtube8m_mod.layers.context_gating import ContextGating
from youtube8m_mod.layers.deep_bag_of_frames import DeepBagOfFrames
from youtube8m_mod.layers.feature_scaling import FeatureScaling
from youtube8m_mod.layers.logit_mixing import LogitMixing
from youtube8m_mod.layers.nextvlad import NeXtVLAD
from youtube8m_mod.layers.projection import Projection

__all__ = [
    "BatchNormalization",
    "ContextGating",
    "DeepBagOfFrames",
    "FeatureScaling",
    "LogisticClassifier",
    "LogitMixing",
    "MixtureOfExpertsClassifier",
    "NeXtVLAD",
    "Projection",
]
