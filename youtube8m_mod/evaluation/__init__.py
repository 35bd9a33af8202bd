"""Scores of submissions (MAP@K, Eq. 8) and of video predictions (GAP, Hit@1, PERR); TensorFlow reads labels only."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "mean_average_precision": ["average_precision", "evaluate"],
        "rated_labels": ["RatedLabels", "load_labels"],
        "video_metrics": ["VideoScores", "global_average_precision", "video_scores"],
    },
)
