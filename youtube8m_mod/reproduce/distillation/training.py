"""Trains arms of the study in one process: one model and one traced step an arm, given each seed's weights in turn."""

import dataclasses
import functools
import itertools
import time
import zlib

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import config
from youtube8m_mod.evaluation.video_metrics import GAP_TOP_K, global_average_precision
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.reproduce import data
from youtube8m_mod.reproduce.distillation.arms import Size
from youtube8m_mod.reproduce.scoring import leaves
from youtube8m_mod.training.optimizer import optimizer_of

HALVES = ("validation", "test")
_FIELDS = ("features", "num_frames", "present_frames", "labels")


class Trainings:
    """The trainings of a `Size`.

    All arms of a seed start at the same weights, and see the same batches under the same dropout.

    Args:
        size: a `Size`.
        bank, bank_test: globs of video-level records; see `data.gap_patterns`.
    """

    def __init__(self, size: Size, bank: str, bank_test: str | None = None):
        self.size, self.bank, self.bank_test = size, bank, bank_test
        self.model = _new_model(size, 0)
        self._steps = {}
        self._scores = tf.function(self._best_of_parts)

    def run(self, arm: str, seed: int) -> dict:
        """Trains an arm.

        Returns:
            {"curve": [{"step", "validation": {part: GAP}, "test": likewise, "disagreement"}], "seconds": {"tracing",
            "training", "scoring"}, "examples"}. Parts are the "root", the plain "average" of the leaves' logits, and
            "leaf", the mean of the leaves' GAPs; disagreement is the share of test videos of which two leaves give
            different best classes.
        """
        seconds = dict.fromkeys(("tracing", "training", "scoring"), 0.0)
        train, halves = self._data(seed)
        phase = self.size.phase(arm)
        self._reset(self.model.variables, _initial_weights(self.size, seed))
        order = _batches(len(train["labels"]), phase.batch_size, phase.max_steps, seed)
        with _seconds(seconds, "tracing" if arm not in self._steps else "training"):
            step = self._step(arm, phase)
            step(train, order[0])
        curve = []
        for number, batch in enumerate(order, 1):
            if number > 1:
                with _seconds(seconds, "training"):
                    step(train, batch)
            if number % self.size.score_steps == 0 or number == len(order):
                with _seconds(seconds, "scoring"):
                    curve.append({"step": number} | self._score(halves))
        return {"curve": curve, "seconds": seconds, "examples": len(train["labels"])}

    def _step(self, arm, phase):
        """A function (data, indices) that takes one step of an arm, at its beginning."""
        if arm not in self._steps:
            optimizer = optimizer_of(phase)
            optimizer.build(self.model.trainable_variables)
            fresh = [variable.numpy() for variable in optimizer.variables]
            self._steps[arm] = tf.function(functools.partial(self._train_step, optimizer)), optimizer, fresh
        step, optimizer, fresh = self._steps[arm]
        self.model.compile(optimizer, recipe=phase)
        self._reset(optimizer.variables, fresh)
        return step

    def _train_step(self, optimizer, examples, indices):
        batch = {name: tf.gather(values, indices) for name, values in examples.items()}
        _, gradients, _ = self.model.losses_and_gradients(batch)
        optimizer.apply(gradients, self.model.trainable_variables)

    @staticmethod
    def _reset(variables, values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _data(self, seed):
        """(training examples, {half: test examples}): tensors by name."""
        patterns = data.gap_patterns(self.bank, self.bank_test, self.size.scale.gap_records, seed)
        return _loaded(self.size, *patterns)

    def _best_of_parts(self, examples):
        """({part: (its best probabilities, whether they are labels)}, best class of each leaf)."""
        output = self.model.tree(examples)
        below = leaves(output)
        logits = {"root": output.logits, "average": sum(leaf.logits for leaf in below) / len(below)}
        logits |= {f"leaf {index}": leaf.logits for index, leaf in enumerate(below)}
        found = {}
        for part, values in logits.items():
            best, classes = tf.math.top_k(values, min(GAP_TOP_K, values.shape[1]))
            found[part] = best, tf.gather(examples["labels"], classes, batch_dims=1)
        return found, tf.stack([tf.argmax(leaf.logits, axis=1) for leaf in below])

    def _score(self, halves):
        scores = {}
        for half, examples in halves.items():
            found, best = self._scores(examples)
            total = int(np.count_nonzero(examples["labels"]))
            gaps = {
                part: global_average_precision(values.numpy().ravel(), correct.numpy().ravel() > 0, total)
                for part, (values, correct) in found.items()
            }
            own = [gaps.pop(part) for part in list(gaps) if part.startswith("leaf")]
            scores[half] = {part: float(gap) for part, gap in gaps.items()} | {"leaf": float(np.mean(own))}
        pairs = itertools.combinations(best.numpy(), 2)
        return scores | {"disagreement": float(np.mean([np.mean(a != b) for a, b in pairs]))}


class _seconds:
    """Adds the processor time of a block, which other work on the machine does not change, to an entry of a dict."""

    def __init__(self, totals, name):
        self.totals, self.name = totals, name

    def __enter__(self):
        self.started = time.process_time()

    def __exit__(self, *_):
        self.totals[self.name] += time.process_time() - self.started


def half_of(video_id: bytes) -> str:
    """The half of the test records that a video belongs to, by its id alone."""
    return HALVES[zlib.crc32(video_id) % 2]


def _new_model(size, seed):
    keras.utils.set_random_seed(seed)
    return MOD.for_phase(size.model(), size.phase("none"), seed=seed)


@functools.lru_cache(maxsize=2)
def _initial_weights(size, seed):
    return [variable.numpy() for variable in _new_model(size, seed).variables]


@functools.lru_cache(maxsize=2)
def _loaded(size, train, test):
    def tensors(arrays, kept):
        return {name: tf.constant(arrays[name][kept]) for name in _FIELDS}

    whole = dataclasses.replace(size.model(), num_classes=config.MODELS["nextvlad"].num_classes)
    found = []
    for pattern in (train, test):
        arrays = dict(data.load_for(whole, pattern, False))
        arrays["labels"] = arrays["labels"][:, : size.num_classes]
        found.append((arrays, arrays["labels"].any(axis=1)))
    (train, kept), (test, labelled) = found
    half = np.array([half_of(video_id) for video_id in test["ids"]])
    return tensors(train, kept), {name: tensors(test, labelled & (half == name)) for name in HALVES}


def _batches(examples, batch_size, steps, seed):
    """Indices `(steps, batch size)`: pass after pass in an order of its own, batches running on over their ends."""
    passes = -(-steps * batch_size // examples)
    order = [np.random.default_rng([seed, number]).permutation(examples) for number in range(passes)]
    return np.concatenate(order)[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)
