"""What a model scores on held-out records: the root, the first leaf, and the plain average of the leaves."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from youtube8m_mod import losses
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.metrics import GAP, PERR, HitAt1
from youtube8m_mod.metrics.average_precision import ranked_average_precision
from youtube8m_mod.models.batch import labels_of
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training.run import Run

SCORERS = ("root", "leaf", "average")
SHOWN = 4  # Videos whose rated segments are drawn.


class Scorer:
    """Scores held-out records: the root, the first leaf, and the plain average of the leaves, in one pass.

    Args:
        model: a `MOD`.
        run: its `Run`.
        reader: a `Reader` of the records.
        examples: score so many, the first of the files; None: all.

    Returns (of a call):
        {"loss": of the recipe, without L2; "<scorer>_<metric>": value}, scorers as in `SCORERS`.

    Attributes:
        rated_videos: of the first `SHOWN` videos with rated segments, as `figures.rated_segments_figure` takes them:
            the ratings, and the root's probabilities of the last call. None in pretraining.
    """

    def __init__(self, model: MOD, run: Run, reader: Reader, examples: int | None = None):
        self.model, self.run, self.reader, self.examples = model, run, reader, examples
        self._graph = self.rated_videos = None

    def __call__(self) -> dict[str, float]:
        segments = self.run.phase.segments
        scorers = [_RatedScores() if segments else _VideoScores() for _ in SCORERS]
        total, examples, shown = {}, 0, _RatedVideos() if segments else None
        for batch in self.reader.read(self.run.phase.batch_size):
            left = self.examples and self.examples - examples
            if left and left < len(batch["labels"]):
                batch = {name: value[:left] for name, value in batch.items()}
            ids = batch.get("ids")
            batch = {name: value for name, value in batch.items() if value.dtype != tf.string}
            count = len(batch["labels"])
            terms, probabilities = self._function(batch)
            for name, value in terms.items():
                total[name] = total.get(name, 0.0) + count * float(value)
            labels, weights = labels_of(batch)
            for scorer, values in zip(scorers, probabilities):
                scorer.update(labels, values, weights)
            if segments:
                shown.update(ids.numpy(), batch, probabilities[0].numpy())
            examples += count
            if self.examples and examples >= self.examples:
                break
        if not examples:
            raise UserError(f"--eval_data_pattern: {', '.join(self.reader.paths[:3])} hold no example to score.")
        self.rated_videos = shown and shown.videos
        loss = losses.total_loss({name: value / examples for name, value in total.items()}, self.model.recipe)
        scores = {"loss": float(loss)}
        for name, scorer in zip(SCORERS, scorers):
            scores |= {f"{name}_{metric}": value for metric, value in scorer.result().items()}
        return scores

    def _function(self, batch):
        """`_outputs` by one graph for batches of any size: the scores of two graphs may differ in the last digit, and
        so would those of a resumed run and a whole one."""
        if self._graph is None:
            signature = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in batch.items()}
            self._graph = tf.function(self._outputs, autograph=False, input_signature=[signature])
        return self._graph(batch)

    def _outputs(self, batch):
        """(loss terms without L2, probabilities of the root, the first leaf and the average of the leaves)."""
        output = self.model.tree(batch, training=False)
        leaves = _leaves(output)
        average = ops.sigmoid(sum(leaf.logits for leaf in leaves) / len(leaves))
        terms = losses.tree_losses(output, *labels_of(batch), self.model.recipe)
        return terms, (output.probabilities, leaves[0].probabilities, average)


class _VideoScores:
    """GAP, Hit@1 and PERR of one scorer."""

    def __init__(self):
        self.metrics = {"gap": GAP(), "hit_at_1": HitAt1(), "perr": PERR()}

    def update(self, labels, probabilities, weights):
        for metric in self.metrics.values():
            metric.update_state(labels, probabilities)

    def result(self):
        return {name: float(metric.result()) for name, metric in self.metrics.items()}


class _RatedScores:
    """MAP (Eq. 8) and BCE of the rated classes of one scorer."""

    def __init__(self):
        self.classes, self.probabilities, self.positive = [], [], []
        self.bce = keras.metrics.Mean()

    def update(self, labels, probabilities, weights):
        rows, classes = np.nonzero(weights.numpy())
        self.classes.append(classes)
        self.probabilities.append(probabilities.numpy()[rows, classes])
        self.positive.append(labels.numpy()[rows, classes] > 0)
        self.bce.update_state(losses.binary_cross_entropy(labels, probabilities, weights), len(labels))

    def result(self):
        classes, probabilities, positive = map(np.concatenate, (self.classes, self.probabilities, self.positive))
        found = []
        for class_id in np.unique(classes[positive]):
            own = classes == class_id
            order = np.argsort(-probabilities[own], kind="stable")
            found.append(ranked_average_precision(positive[own][order], np.count_nonzero(positive[own])))
        return {"map": float(np.mean(found)) if found else 0.0, "bce": float(self.bce.result())}


class _RatedVideos:
    """The ratings of the first few videos, and what a model gives these segments; see `Scorer.rated_videos`."""

    def __init__(self):
        self._videos = {}

    def update(self, ids, batch, probabilities):
        for row, video_id in enumerate(ids):
            if video_id not in self._videos and len(self._videos) == SHOWN:
                break
            video = self._videos.setdefault(video_id, [])
            for class_id in np.flatnonzero(batch["label_weights"][row]):
                positive = bool(batch["labels"][row, class_id])
                start, value = int(batch["start_times"][row]), float(probabilities[row, class_id])
                video.append((int(class_id), start, positive, value))

    @property
    def videos(self):
        return [{"id": video_id.decode(), "ratings": sorted(ratings)} for video_id, ratings in self._videos.items()]


def _leaves(output):
    return [leaf for child in output.children for leaf in _leaves(child)] or [output]
