"""A batch as the reader gives it, of what Keras hands to a model."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod.tree import NodeOutput, Tensor


def as_batch(data: Any) -> dict[str, Tensor]:
    """The batch dict of what `fit`, `evaluate`, `predict` or a call were given.

    Args:
        data: a batch as `Reader` gives it; features alone; or `(x, y)` or `(x, y, sample_weight)`, where x is one of
            these, y the multi-hot labels `(batch, classes)`, and sample_weight `(batch, classes)` for rated labels or
            `(batch,)`.

    Returns:
        a dict of `features`, and what there is of `num_frames`, `present_frames`, `labels`, `label_weights` and others.
    """
    x, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, (list, tuple)):
        raise ValueError(f"Expected x to be features, or a dict of them and others, got {len(x)} arrays.")
    batch = dict(x) if isinstance(x, dict) else {"features": x}
    given = {"labels": labels, "label_weights": label_weights}
    batch |= {name: values for name, values in given.items() if values is not None}
    if "features" not in batch:
        raise ValueError(f'Expected a batch with "features", got {", ".join(batch) or "nothing"}.')
    for name in ("num_frames", "present_frames"):
        if name in batch and len(batch[name].shape) == 2:  # As `keras.Input((1,))` has it.
            batch[name] = batch[name][:, 0]
    return batch


def check_labels(batch: dict[str, Tensor], num_classes: int) -> None:
    """Raises `ValueError` where the labels are missing, or they or their weights do not fit a model's classes."""
    labels_of(batch)
    shapes = {"labels": [(None, num_classes)], "label_weights": [(None,), (None, 1), (None, num_classes)]}
    for name in shapes.keys() & batch.keys():
        found = tf.TensorShape(batch[name].shape)
        if not any(found.is_compatible_with(shape) for shape in shapes[name]):
            raise ValueError(f"Expected {name} of shape (batch, {num_classes}), got shape {found}.")


def labels_of(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """(labels, label weights or None) of a batch, float32 `(batch, classes)` and `(batch, classes)` or `(batch, 1)`."""
    if "labels" not in batch:
        raise ValueError(
            'Expected "labels" in the batch, or y, multi-hot of shape (batch, classes); got '
            f"{', '.join(sorted(batch))} only."
        )
    labels, weights = (
        None if name not in batch else keras.ops.cast(batch[name], "float32") for name in ("labels", "label_weights")
    )
    if weights is not None and len(weights.shape) == 1:
        weights = weights[:, None]
    return labels, weights


def without_texts(data: Any) -> Any:
    """What `fit` was given, without the texts of its batches, as `ids`: no GPU and no replica can hold them."""
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        if isinstance(spec, dict):
            return data.map(_without_texts)
        if isinstance(spec, tuple) and spec and isinstance(spec[0], dict):
            return data.map(lambda x, *others: (_without_texts(x), *others))
    if isinstance(data, tuple) and data and isinstance(data[0], dict):
        return _without_texts(data[0]), *data[1:]
    return _without_texts(data) if isinstance(data, dict) else data


def _without_texts(batch):
    return {name: values for name, values in batch.items() if not _is_text(values)}


def _is_text(values):
    return tf.as_dtype(values.dtype if hasattr(values, "dtype") else np.asarray(values).dtype) == tf.string


class ReplicaPart:
    """A replica's part of a batch; with one replica all of it.

    A replica that gets nothing of a last batch takes an example of zeros, which counts nowhere: means of nothing would
    poison what replicas share.

    Attributes:
        batch: with at least one example.
        examples: how many there are, int32; 0 where that is the example of zeros.
        share: of the whole batch: gradients of replicas are summed, each being that of a mean over its part.
    """

    def __init__(self, batch: dict[str, Tensor]):
        self.batch, self.examples, self.share = batch, tf.shape(batch["labels"])[0], 1.0
        self.alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
        if not self.alone:
            count = tf.cast(self.examples, tf.float32)
            self.share = count / tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
            missing = tf.cast(self.examples == 0, tf.int32)
            self.batch = {
                name: tf.pad(values, [[0, missing]] + [[0, 0]] * (len(values.shape) - 1))
                for name, values in batch.items()
                if values.dtype != tf.string  # Ids, which have no use here.
            }

    def scored(self, output: NodeOutput) -> tuple[Tensor, Tensor, Tensor | None]:
        """(labels, probabilities, label weights or None) of the examples that there are."""
        labels, label_weights = labels_of(self.batch)
        values = labels, output.probabilities, label_weights
        return values if self.alone else tuple(v if v is None else v[: self.examples] for v in values)
