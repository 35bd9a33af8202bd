"""Checkpoints of the original TensorFlow 1 code."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "conversion": ["convert"],
    },
)
