"""The means of a tree's loss terms over batches."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from keras import ops

from youtube8m_mod import losses
from youtube8m_mod.config import Recipe
from youtube8m_mod.tree import Tensor


class LossMeans(keras.metrics.Metric):
    """Means of the loss terms over examples, and what a log shows of them.

    Under a distribution strategy the terms are averaged over replicas first.

    Args:
        branching: of the tree.

    Attributes:
        recipe: the `Recipe` of the losses: what there is of terms, and their weights in the loss.
    """

    def __init__(self, branching: Sequence[int], name: str = "loss"):
        super().__init__(name=name, dtype="float32")
        self.branching, self.recipe = branching, Recipe()
        self.names = losses.term_names(branching)
        options = dict(initializer="zeros", aggregation="only_first_replica")
        self.means = self.add_variable((len(self.names),), name="means", **options)
        self.examples = self.add_variable((), name="examples", **options)

    def update_state(self, terms: Mapping[str, Tensor], examples: Tensor | int, share: Tensor | float = 1.0) -> None:
        """Takes the terms of a batch.

        Args:
            terms: {name: scalar}, means over the batch.
            examples: size of the batch.
            share: of a replica: that of its batch in the whole.
        """
        values = share * ops.stack([terms.get(name, 0.0) for name in self.names])
        examples = ops.cast(examples, "float32")
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            values, examples = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, [values, examples]
            )
        self.examples.assign(self.examples + examples)
        self.means.assign(self.means + (values - self.means) * (examples / self.examples))

    def terms(self) -> dict[str, Tensor]:
        """{name: mean} of the recipe's terms."""
        means = dict(zip(self.names, ops.unstack(ops.convert_to_tensor(self.means), len(self.names))))
        return {name: means[name] for name in losses.term_names(self.branching, self.recipe)}

    def result(self) -> dict[str, Tensor]:
        """{"loss", "bce_level_<n>", "kl_level_<n>", "l2"}: see `losses.level_sums`."""
        return losses.level_sums(self.terms(), self.recipe)
