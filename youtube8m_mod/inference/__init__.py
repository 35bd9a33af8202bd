"""Trained models folded for inference, and the run over files."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "folded": ["FoldedModel", "fold"],
        "localizer": ["Localizer", "Outputs"],
        "run": ["Inference"],
    },
)
