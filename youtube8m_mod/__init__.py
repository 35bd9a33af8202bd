"""MOD: a deep mixture of NeXtVLAD models with online knowledge distillation.

The public names below are loaded when they are first used: importing the package loads neither TensorFlow nor Keras.
"""

import sys

from youtube8m_mod.lazy import attach

__version__ = "1.0.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "config": ["MODELS", "PHASES", "ModelConfig", "PhaseConfig", "Recipe", "model_config", "phase_config"],
        "data.reader": ["Reader"],
        "errors": ["UserError"],
        "inference.folded": ["FoldedModel", "fold"],
        "layers": [
            "ContextGating",
            "DeepBagOfFrames",
            "FeatureScaling",
            "LogisticClassifier",
            "LogitMixing",
            "MixtureOfExpertsClassifier",
            "NeXtVLAD",
        ],
        "metrics": ["GAP", "HitAt1", "PERR"],
        "models.mixture": ["Mixture"],
        "models.mod": ["MOD"],
        "models.nextvlad": ["DBoFModel", "NeXtVLADModel"],
        "training.checkpoints": ["load_model"],
        "training.optimizer": ["FusedAdam", "StaircaseDecay"],
        "tree": ["NodeOutput"],
    },
    submodules=["config", "layers", "losses", "models"],
)

if "keras" in sys.modules:  # Keras is about to be used: `keras.saving.load_model` finds the classes that were imported.
    from youtube8m_mod import registered  # noqa: F401
