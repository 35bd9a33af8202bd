"""What TensorBoard shows beside the log: the mixing weights of every node, and the run's configuration."""

import json

import tensorflow as tf
from keras import ops

from youtube8m_mod.models.batch import as_batch
from youtube8m_mod.overrides import to_dict
from youtube8m_mod.training.callbacks import RunCallback


class TensorBoardDetails(RunCallback):
    """The configuration as text, and the mixing weights of every node: a histogram, and the mean of each child.

    They take a forward pass of the step's batch, so they are written every `every`-th line of the log.

    Args:
        every: lines of the log from one to the next; 0: the configuration only.
    """

    def __init__(self, every=10):
        super().__init__()
        self.every = every
        self._function = None

    def on_train_begin(self, logs=None):
        run = self.trainer.run
        text = {"model": to_dict(run.model), "phase": to_dict(run.phase), "seed": run.seed, "precision": run.precision}
        with self.trainer.log.history.writer.as_default(self.trainer.state["step"]):
            tf.summary.text("configuration", f"```\n{json.dumps(text, indent=2)}\n```")

    def on_train_batch_end(self, batch, logs=None):
        step, log_steps = self.trainer.state["step"], self.trainer.options.log_steps
        if not self.every or step % (self.every * log_steps):
            return
        if self._function is None:
            self._function = tf.function(self._mixing_weights, reduce_retracing=True)
        texts = [name for name, value in self.trainer.batch.items() if value.dtype == tf.string]
        weights = self._function({name: value for name, value in self.trainer.batch.items() if name not in texts})
        with self.trainer.log.history.writer.as_default(step):
            for path, values in weights.items():
                tf.summary.histogram(f"mixing/{path or 'root'}", values)
                for child, mean in enumerate(ops.mean(values, axis=0).numpy().tolist()):
                    tf.summary.scalar(f"mixing/{path or 'root'}/child_{child}", mean)

    def _mixing_weights(self, batch):
        """{path of a node: mixing weights `(batch, children)`}."""
        return {path: output.weights for path, output in _nodes(self.model.tree(as_batch(batch), training=False))}


def _nodes(output, path=""):
    """(path, `NodeOutput`) of every node that mixes."""
    if output.children:
        yield path, output
        for index, child in enumerate(output.children):
            yield from _nodes(child, f"{path}/{index}" if path else str(index))
