"""Section 3.1 on arrays: segments, candidates, the value model (Eq. 1), ranked lists."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ranked_lists": ["Localization", "LocalizationConfig"],
        "ranking": ["TopK"],
        "segments": ["split_segments"],
        "value_model": ["first_segments", "top_classes"],
    },
)
