"""Which subtree lives on which device, on one machine or on many."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "placement": ["DataParallelPlacement", "Placement", "make_placement"],
        "servers": ["Servers"],
    },
)
