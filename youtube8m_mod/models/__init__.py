"""NeXtVLAD models (Fig. 5), mixtures of them (Fig. 6 and 7), and MOD, the trainable model."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "mixture": ["Mixture"],
        "mod": ["MOD"],
        "nextvlad": ["DBoFModel", "NeXtVLADModel"],
        "size": ["num_parameters"],
    },
)
