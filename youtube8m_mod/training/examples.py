"""The examples of a run: pass after pass, each example once a pass, from any place on."""

import sys

import tensorflow as tf

from youtube8m_mod.errors import UserError


def batches(reader, phase, seed, state):
    """Batches from the place of the `state` on, which moves along with them.

    Batches are full: the examples left over at the end of a pass are joined by the first of the next. Only the very
    last batch of all passes may be smaller.

    Args:
        reader: a `Reader`.
        phase: a `PhaseConfig`, which says where the run ends.
        seed: of the order.
        state: a dict as `checkpoints.new_state` gives it; its "step", "epoch", "place" and "examples" are those after
            the batch that came last.

    Raises:
        UserError: on bad data.
    """
    size, left_over = phase.batch_size, None
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
            yield batch
            if _at_end(state, phase):
                return
        passed.finish()  # Raises what the pass ended at, if it was something bad.
        if summary := passed.counts.summary():
            print(f"epoch {state['epoch'] + 1}: {summary}", file=sys.stderr)
        if not state["place"] and left_over is None:
            raise UserError("The training data holds no example.")
        state["epoch"] += 1
        state["place"] = 0


def _at_end(state, phase):
    return phase.max_steps is not None and state["step"] >= phase.max_steps


def _joined(data, left_over, used, size):
    """`data`'s batches without the first `used` examples, after those of the batch `left_over`."""
    if used:
        data = data.enumerate().map(
            lambda index, batch: {name: values[tf.where(index == 0, used, 0) :] for name, values in batch.items()}
        )
    if left_over:
        data = tf.data.Dataset.from_tensors(left_over).concatenate(data)
    return data.rebatch(size).prefetch(2) if used or left_over else data
