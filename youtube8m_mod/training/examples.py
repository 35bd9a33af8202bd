"""The examples of a run: pass after pass, each example once a pass, from any place on."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import PhaseConfig
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.data.reader import Reader

_WITHOUT_LABEL = 10_000  # Examples without a label after which a run ends: a pass may take days.


def batches(reader: "Reader", phase: PhaseConfig, seed: int, state: dict[str, Any]) -> Iterator[dict[str, tf.Tensor]]:
    """Batches from the place of the `state` on, which moves along with them.

    Batches are full: the examples left over at the end of a pass are joined by the first of the next. Only the very
    last batch of all passes may be smaller.

    Args:
        reader: a `Reader`.
        phase: a `PhaseConfig`, which says where the run ends.
        seed: of the order.
        state: a dict as `checkpoint_store.new_state` gives it; its "step", "epoch", "place" and "examples" are those
            after the last batch.

    Raises:
        UserError: on bad data, and where no example of the first pass has a label.
    """
    size, left_over = phase.batch_size, None
    labels = _Labels(reader, state, phase)
    while phase.num_epochs is None or state["epoch"] < phase.num_epochs:
        if _at_end(state, phase):
            return
        last_epoch = state["epoch"] + 1 == phase.num_epochs
        passed = reader.read(size, seed=seed, epoch=state["epoch"], skip_batches=state["place"] // size)
        data = _joined(passed.dataset, left_over, state["place"] % size, size)
        carried, left_over = len(left_over["labels"]) if left_over else 0, None
        for batch in data:
            count = len(batch["labels"])
            if count < size and not last_epoch:
                left_over = batch
                break
            state["step"] += 1
            state["place"] += count - carried
            state["examples"] += count
            carried = 0
            labels.look_at(batch, count)
            yield batch
            if _at_end(state, phase):
                labels.check()
                _tell(f"epoch {state['epoch'] + 1}, as far as it was read", passed)
                return
        passed.finish()  # Raises what the pass ended at, if it was something bad.
        _tell(f"epoch {state['epoch'] + 1}", passed)
        if not state["place"] and left_over is None:
            raise UserError(f"The training data holds no example{_why_none(reader)}.")
        labels.check()
        state["epoch"] += 1
        state["place"] = 0


class _Labels:
    """Watches the first pass of a run for labels: without any, all would be trained on zeros."""

    def __init__(self, reader, state, phase):
        self.reader, self.examples = reader, 0
        # What the rest of a pass holds says nothing about the whole; a rated segment has labels by what it is.
        self.sought = hasattr(reader, "spec") and not phase.segments and not state["examples"]

    def look_at(self, batch, count):
        if self.sought:
            self.examples += count
            self.sought = not np.any(batch["labels"])
            if self.examples >= _WITHOUT_LABEL:
                self.check()

    def check(self):
        """Raises `UserError` where no example so far had a label."""
        if self.sought and self.examples:
            spec = self.reader.spec
            raise UserError(
                f'None of the first {self.examples:,} examples has a label under "{spec.labels_key}": '
                f"{self.reader.paths[0]} holds {spec.found}; --record_keys=labels=<key> names another key."
            )


def _why_none(reader):
    """What the records lack that have no rated segment."""
    spec = getattr(reader, "spec", None)
    if not (spec and spec.segments):
        return ""
    keys = spec.segment_keys
    wanted = ", ".join(f'"{key}"' for key in (keys.starts, keys.labels, keys.scores) if key)
    return f", as no record has rated segments under {wanted}: {reader.paths[0]} holds {spec.found}"


def _tell(when, passed):
    if summary := passed.counts.summary():
        print(f"{when}: {summary}", file=sys.stderr)


def _at_end(state, phase):
    return phase.max_steps is not None and state["step"] >= phase.max_steps


@tf.autograph.experimental.do_not_convert
def _joined(data, left_over, used, size):
    """`data`'s batches without the first `used` examples, after those of the batch `left_over`."""
    if used:
        data = data.enumerate().map(
            lambda index, batch: {name: values[tf.where(index == 0, used, 0) :] for name, values in batch.items()}
        )
    if left_over:
        data = tf.data.Dataset.from_tensors(left_over).concatenate(data)
    return data.rebatch(size).prefetch(2) if used or left_over else data
