"""From a step to a run: optimizer, checkpoints and exact resume, history, reports."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "callbacks": ["RunCallback"],
        "checkpoints": ["load_model"],
        "history": ["read_history"],
        "optimizer": ["FusedAdam", "StaircaseDecay"],
        "run": ["Run"],
        "trainer": ["Trainer", "TrainingOptions"],
    },
)
