"""Which classes and examples of a batch a metric counts."""

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
    if sample_weight is None:
        return labels, predictions, ops.ones_like(labels[:, 0])
    sample_weight = ops.cast(sample_weight, "float32")
    if len(sample_weight.shape) == 1 or (sample_weight.shape[1] == 1 and labels.shape[1] != 1):
        return labels, predictions, ops.reshape(sample_weight, (-1,))
    counts = sample_weight > 0
    return ops.where(counts, labels, 0.0), ops.where(counts, predictions, -float("inf")), ops.ones_like(labels[:, 0])
