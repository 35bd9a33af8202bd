"""Files that others read and write: submissions, predictions, lists of classes."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "class_lists": ["read_class_ids"],
        "predictions": ["format_lines", "read_predictions"],
        "submission": ["read_submission", "write_submission"],
    },
)
