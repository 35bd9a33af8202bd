"""What TensorBoard shows beside the log: mixing weights, norms of gradients, rated segments, the configuration."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from keras import ops

from youtube8m_mod import figures
from youtube8m_mod.models.batch import as_batch
from youtube8m_mod.overrides import to_dict
from youtube8m_mod.training.callbacks import RunCallback

if TYPE_CHECKING:
    from youtube8m_mod.training.validation import Validation


class TensorBoardDetails(RunCallback):
    """The configuration as text; with the log the norm of each subtree's gradients; the mixing weights of every node.

    Mixing weights, a histogram and the mean of each child, take a forward pass of the step's batch, so they are written
    every `every`-th line of the log. Norms are those before clipping, as the step has computed them.

    Args:
        every: lines of the log from one to the next; 0: no mixing weights.
        validation: a `Validation` earlier in the list, whose rated segments are drawn; or None.
    """

    def __init__(self, every: int = 10, validation: "Validation | None" = None):
        super().__init__()
        self.every, self.validation = every, validation
        self._weights = tf.function(self._mixing_weights, autograph=False, reduce_retracing=True)
        self._norms = tf.function(self._gradient_norms, autograph=False)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        run = self.trainer.run
        rows = [("seed", run.seed), ("precision", run.precision)]
        for title, config in (("model", run.model), ("phase", run.phase)):
            rows += [(f"{title}: {name}", value) for name, value in to_dict(config).items()]
        lines = [f"| {name} | {json.dumps(value)} |" for name, value in rows]
        with self.trainer.log.history.writer.as_default(self.trainer.state["step"]):
            tf.summary.text("configuration", "\n".join(["| field | value |", "| --- | --- |", *lines]))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step, log_steps = self.trainer.state["step"], self.trainer.options.log_steps
        with self.trainer.log.history.writer.as_default(step):
            self._write_segments()
            if step % log_steps:
                return
            for path, norm in self._norms().items():
                tf.summary.scalar(f"gradient_norm/{path or 'root'}", norm)
            if self.every and step % (self.every * log_steps) == 0:
                self._write_mixing_weights()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        with self.trainer.log.history.writer.as_default(self.trainer.state["step"]):
            self._write_segments()

    def _write_segments(self):
        if self.validation and self.validation.scores:
            write_rated_segments(self.validation.rated_videos)

    def _write_mixing_weights(self):
        texts = [name for name, value in self.trainer.batch.items() if value.dtype == tf.string]
        weights = self._weights({name: value for name, value in self.trainer.batch.items() if name not in texts})
        for path, values in weights.items():
            tf.summary.histogram(f"mixing/{path or 'root'}", values)
            for child, mean in enumerate(ops.mean(values, axis=0).numpy().tolist()):
                tf.summary.scalar(f"mixing/{path or 'root'}/child_{child}", mean)

    def _gradient_norms(self):
        """{path of a subtree, "" for what is above them: norm of all its gradients together}."""
        model, optimizer = self.model, self.trainer.optimizer
        if not model.config.branching:
            return {"": optimizer.norm_of(model.trainable_variables)}
        norms = {}
        for index, subtree in enumerate(model.subtrees):
            with model.placement.subtree(index):
                norms[str(index)] = optimizer.norm_of(subtree.trainable_variables)
        with model.placement.root():
            return norms | {"": optimizer.norm_of(model.root.mixing.trainable_variables)}

    def _mixing_weights(self, batch):
        """{path of a node: mixing weights `(batch, children)`}."""
        return {path: output.weights for path, output in _nodes(self.model.tree(as_batch(batch), training=False))}


def write_rated_segments(videos: Sequence[Mapping[str, Any]] | None) -> None:
    """Draws rated segments, as `Scorer.rated_videos` gives them, for the current writer of summaries."""
    if not videos:
        return
    image = io.BytesIO()
    figures.rated_segments_figure(videos).savefig(image, format="png", dpi=150)
    tf.summary.image("rated segments", tf.io.decode_png(image.getvalue(), channels=3)[tf.newaxis])


def _nodes(output, path=""):
    """(path, `NodeOutput`) of every node that mixes."""
    if output.children:
        yield path, output
        for index, child in enumerate(output.children):
            yield from _nodes(child, f"{path}/{index}" if path else str(index))
