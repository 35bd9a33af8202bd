"""Export of a trained model, and its check in a fresh process."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "export": ["Export"],
    },
)
