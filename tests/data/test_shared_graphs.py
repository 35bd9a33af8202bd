"""The graphs of a pass serve every pass and every reader of such records: none may hear of another's records."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

from tests.data.shard_helpers import CONFIG, frame, ids_of, mutated, numpy_batches, record, write
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError


def short_frame(message):
    frame(message, "rgb", 0).bytes_list.value[0] = b"short"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of good records, and of some of which the second is bad."""
    folder = tmp_path_factory.mktemp("shards")
    good, bad = ([record(f"{name}{number}", 2 + number) for number in range(6)] for name in ("good", "bad"))
    bad[1] = mutated(bad[1], short_frame)
    return write(folder, "good.tfrecord", good), write(folder, "bad.tfrecord", bad)


def test_passes_that_take_turns_keep_their_counts_apart(paths):
    good, bad = (Reader(path, CONFIG, skip_bad_records=True, max_bad_share=1) for path in paths)
    passes = [good.read(2), bad.read(2), good.read(2), good.read(2, paths=[paths[1]])]
    ids = [[] for _ in passes]
    for batches in itertools.zip_longest(*passes):
        for own, batch in zip(ids, batches):
            own += [] if batch is None else batch["ids"].numpy().tolist()
    assert [len(own) for own in ids] == [6, 5, 6, 5]
    assert [sum(each.counts.bad.values()) for each in passes] == [0, 1, 0, 1]
    assert [each.counts.records for each in passes] == [6] * 4


def test_an_error_ends_the_pass_that_met_it(paths):
    good, bad = (iter(Reader(path, CONFIG).read(1)) for path in paths)
    next(good)
    with pytest.raises(UserError, match="bad.tfrecord, record 1"):
        [*bad]
    assert len([*good]) == 5


def test_readers_of_other_settings_share_nothing(paths):
    for max_frames, classes in ((6, 10), (3, 10), (6, 4)):
        config = dataclasses.replace(CONFIG, max_frames=max_frames, num_classes=classes)
        (batch,) = numpy_batches(Reader(paths[0], config).read(8))
        assert batch["features"].shape[1] == max_frames and batch["labels"].shape[1] == classes
    (batch,) = numpy_batches(Reader(paths[0], CONFIG, max_frames=4).read(8))
    assert batch["num_frames"].tolist() == np.minimum(np.arange(6) + 2, 4).tolist()


def test_a_dataset_is_read_when_its_batches_are_gone_and_after_a_cleared_session(paths):
    datasets = [Reader(path, CONFIG).read(1).dataset for path in paths]
    keras.utils.clear_session()
    read, ended = (ids_of(dataset) for dataset in datasets)
    assert len(read) == 6
    assert ended in ([], ["bad0"])  # It ends at the bad record, or as soon as that is found.
    assert len(ids_of(Reader(paths[0], CONFIG).read(4))) == 6
