"""A page on which a person looks at localised videos."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "contents": ["Contents", "Truth", "Video", "best_segments"],
        "outputs": ["read_outputs"],
        "page": ["write_page"],
    },
)
