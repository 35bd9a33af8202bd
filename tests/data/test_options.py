"""No pass has TensorFlow's tuner: the end of one may wait for the tuner's next round, up to a minute."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import dataset_options_pb2

from tests.data.shard_helpers import CONFIG, record, write
from youtube8m_mod.config import PHASES
from youtube8m_mod.data import stream
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.reproduce.data import MemoryReader
from youtube8m_mod.training import checkpoint_store, examples


def autotune(dataset):
    """(whether something is said of the tuner, what), as TensorFlow's runtime has it."""
    serialized = tf.raw_ops.GetOptions(input_dataset=tf.data.experimental.to_variant(dataset)).numpy()
    options = dataset_options_pb2.Options.FromString(serialized).autotune_options
    return options.WhichOneof("optional_enabled"), options.enabled


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("shards"), "x.tfrecord", [record(f"v{n}", 3) for n in range(5)])


def test_it_would_be_on(path):
    assert autotune(tf.data.TFRecordDataset(path)) == (None, False)


@pytest.mark.parametrize("seed", [None, 1])
def test_readers(path, seed):
    passed = Reader(path, CONFIG).read(2, seed=seed)
    arrays = {"ids": np.arange(5), "labels": np.ones([5, 2])}
    for dataset in (passed.dataset, MemoryReader(arrays).read(2, seed=seed).dataset, stream.file_records(path)[0]):
        assert autotune(dataset) == ("enabled", False)


def test_training_across_passes(path, monkeypatch):
    seen = []

    def joined(*arguments, joined=examples._joined):
        seen.append(joined(*arguments))
        return seen[-1]

    monkeypatch.setattr(examples, "_joined", joined)
    state, phase = checkpoint_store.new_state(), dataclasses.replace(PHASES["pretrain"], batch_size=2, num_epochs=2)
    assert len([*examples.batches(Reader(path, CONFIG), phase, 0, state)]) == 5
    assert [autotune(dataset) for dataset in seen] == [("enabled", False)] * 2
