"""GAP, Hit@1 and PERR as Keras metrics, for any multi-label model."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"gap": ["GAP"], "hit_at_1": ["HitAt1"], "perr": ["PERR"]})
