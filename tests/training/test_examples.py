"""Each example once a pass, from any place on."""

import collections

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from tests.training import tiny
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.training.checkpoint_store import new_state
from youtube8m_mod.training.examples import batches


class CountingReader:
    """Examples that are numbers, in another order in each epoch."""

    def __init__(self, count):
        self.count = count
        self.counts = self

    def read(self, batch_size, *, seed, epoch, skip_batches):
        order = np.random.default_rng([seed, epoch]).permutation(self.count)[skip_batches * batch_size :]
        self.dataset = tf.data.Dataset.from_tensor_slices({"labels": order.astype(np.int64)}).batch(batch_size)
        return self

    def finish(self):
        pass

    def summary(self):
        return ""


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    strategies.integers(1, 9),
    strategies.integers(1, 7),
    strategies.integers(1, 3),
    strategies.one_of(strategies.none(), strategies.integers(1, 12)),
)
def test_each_example_once_a_pass_from_any_place_on(count, size, epochs, max_steps):
    phase = tiny.run(batch_size=size, num_epochs=epochs, max_steps=max_steps).phase
    state, taken, places = new_state(), [], []
    for batch in batches(CountingReader(count), phase, 5, state):
        taken.append(batch["labels"].numpy().tolist())
        places.append(dict(state))
    examples = sum(taken, [])
    assert state["step"] == len(taken) and state["examples"] == len(examples)
    assert all(len(part) == size for part in taken[:-1])
    if max_steps is None:
        assert len(examples) == count * epochs
    for start in range(0, len(examples), count):
        assert max(collections.Counter(examples[start : start + count]).values()) == 1
    for number, place in enumerate(places, 1):
        rest = [batch["labels"].numpy().tolist() for batch in batches(CountingReader(count), phase, 5, place)]
        assert rest == taken[number:]


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_records_of_files(data, phase):
    run = tiny.run(phase, batch_size=4, num_epochs=3)
    reader = Reader(
        f"{data}/{'validate' if run.phase.segments else 'train'}-*.tfrecord", run.model, segments=run.phase.segments
    )
    state, seen, places = new_state(), [], []
    for batch in batches(reader, run.phase, 0, state):
        starts = batch["start_times"].numpy() if run.phase.segments else [0] * len(batch["ids"])
        seen += zip(batch["ids"].numpy(), starts)
        places.append((dict(state), len(seen)))
    records = len(set(seen))
    assert len(seen) == 3 * records and records % 4
    assert set(collections.Counter(seen).values()) == {3}
    for start in range(0, len(seen), records):
        assert len(set(seen[start : start + records])) == records
    place, count = places[len(places) // 2]
    rest = [video for batch in batches(reader, run.phase, 0, place) for video in batch["ids"].numpy()]
    assert rest == [video for video, _ in seen[count:]]


def test_no_example_at_all():
    with pytest.raises(UserError, match="holds no example"):
        list(batches(CountingReader(0), tiny.run(num_epochs=2).phase, 0, new_state()))
