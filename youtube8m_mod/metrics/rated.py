"""Which classes and examples of a batch a metric counts."""

from collections.abc import Sequence

from keras import ops

from youtube8m_mod.tree import Tensor


def rated(labels: Tensor, predictions: Tensor, sample_weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """What counts of a batch.

    Args:
        labels, predictions: `(batch, classes)`.
        sample_weight: `(batch, classes)`, 0 where a class does not count, as the label weights of rated segments; or
            `(batch,)` or `(batch, 1)`, weights of the examples; None: all count.

    Returns:
        (labels, predictions, weights of the examples), float32 `(batch, classes)` twice and `(batch,)`; the
        predictions of classes that do not count are -inf.
    """
    labels, predictions = ops.cast(labels, "float32"), ops.cast(predictions, "float32")
    if len(labels.shape) != 2 or not _alike(labels.shape, predictions.shape):
        raise ValueError(
            f"Expected labels and predictions of one shape (batch, classes), got {tuple(labels.shape)} and "
            f"{tuple(predictions.shape)}."
        )
    if sample_weight is None:
        return labels, predictions, ops.ones_like(labels[:, 0])
    sample_weight = ops.cast(sample_weight, "float32")
    if not any(_alike(sample_weight.shape, shape) for shape in (labels.shape, labels.shape[:1], (labels.shape[0], 1))):
        raise ValueError(
            f"Expected sample_weight of shape (batch, classes) or (batch,) for labels of shape {tuple(labels.shape)}, "
            f"got {tuple(sample_weight.shape)}."
        )
    if len(sample_weight.shape) == 1 or (sample_weight.shape[1] == 1 and labels.shape[1] != 1):
        return labels, predictions, ops.reshape(sample_weight, (-1,))
    counts = sample_weight > 0
    return ops.where(counts, labels, 0.0), ops.where(counts, predictions, -float("inf")), ops.ones_like(labels[:, 0])


def _alike(shape: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes may be the same, None being any size."""
    return len(shape) == len(other) and all(None in sizes or len({*sizes}) == 1 for sizes in zip(shape, other))
