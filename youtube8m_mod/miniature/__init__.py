"""A dataset in the form of YouTube-8M, at a size for demos and tests."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "composition": ["Settings"],
        "writer": ["write_miniature"],
    },
)
