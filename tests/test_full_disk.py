"""A full disk, or a kill in the middle of writing: the previous output stays, no half file has the final name.

The limit on the size of a file that the system enforces stands for the full disk: a write fails in the middle.
"""

import contextlib
import os
import resource

import numpy as np
import pytest
import tensorflow as tf

from tests.eagerly import eagerly
from tests.training import tiny
from youtube8m_mod import files
from youtube8m_mod.data.records import frame_level_record, write_shard
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.formats.arrays import write_arrays
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.serving.export import Export
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.optimizer import FusedAdam

LIMIT = 1 << 16


@contextlib.contextmanager
def small_disk():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_text(path, size):
    with files.write_file(path) as file:
        for _ in range(size // 10):
            file.write("ten bytes\n")


def write_a_submission(path, size):
    videos, slots = np.array([f"{number:06d}" for number in range(size // 500)], np.bytes_), 60
    everything = [index.ravel() for index in np.indices((len(videos), slots))]
    write_submission(path, [3], [(everything[0], 5 * everything[1])], videos, slots)


def write_records(path, size):
    frames = np.zeros((10, 1000), np.uint8)
    write_shard(path, (frame_level_record(f"v{number}", [1], {"rgb": frames}) for number in range(size // 10_000 + 1)))


def write_labels(path, size):
    RatedLabels({1: {b"v%07d:5" % number: True for number in range(size // 10)}}).write_cache(path)


WRITERS = {
    "text": write_text,
    "json": lambda path, size: files.write_json(path, "x" * size),
    "arrays": lambda path, size: write_arrays(path, {"a": np.zeros(size, np.uint8)}),
    "submission": write_a_submission,
    "records": write_records,
    "label cache": write_labels,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_previous_output(tmp_path, name):
    path = str(tmp_path / "output")
    WRITERS[name](path, 1000)
    before = open(path, "rb").read()
    assert 0 < len(before) < LIMIT
    with small_disk(), pytest.raises(UserError, match=f"Cannot write {path}: .*[Ff]ile too large"):
        WRITERS[name](path, 4 * LIMIT)
    assert open(path, "rb").read() == before and os.listdir(tmp_path) == ["output"]
    WRITERS[name](path, 4 * LIMIT)
    assert os.path.getsize(path) > LIMIT and os.listdir(tmp_path) == ["output"]


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    run = tiny.run(max_steps=1, model=("hidden_size=64", "num_classes=400"))
    model = MOD.for_phase(run.model, run.phase)
    optimizer = FusedAdam(1e-3)
    optimizer.build(model.trainable_variables)
    checkpoints.save(str(tmp_path), model, optimizer, checkpoint_store.new_state(1), keep=1)
    with small_disk(), pytest.raises(UserError, match="Cannot write the checkpoint .*checkpoint-00000002: "):
        checkpoints.save(str(tmp_path), model, optimizer, checkpoint_store.new_state(2), keep=1)
    assert os.listdir(tmp_path) == ["checkpoint-00000001"]
    assert checkpoints.restore_latest(str(tmp_path), model, optimizer)["step"] == 1


def test_a_full_disk_ends_training_with_the_checkpoint_before(tmp_path_factory, tmp_path, monkeypatch):
    data = tiny.write_data(tmp_path_factory.mktemp("data"))
    with eagerly():
        trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=4), checkpoint_steps=2)
        write, calls = tf.train.Checkpoint.write, []

        def second_write_fails(self, *arguments, **more):
            calls.append(self)
            if len(calls) == 2:
                raise tf.errors.ResourceExhaustedError(None, None, "checkpoint; No space left on device")
            return write(self, *arguments, **more)

        monkeypatch.setattr(tf.train.Checkpoint, "write", second_write_fails)
        with pytest.raises(UserError, match="Cannot write the checkpoint .*-00000004: checkpoint; No space left"):
            trainer.train()
    assert checkpoint_store.steps(tmp_path) == [2] and not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_a_full_disk_leaves_no_half_export(tmp_path):
    run = tiny.run(max_steps=1, model=("hidden_size=64", "num_classes=400"))
    model = MOD.for_phase(run.model, run.phase)
    with small_disk(), pytest.raises(UserError, match=f"Cannot write {tmp_path}/1: "):
        Export().save_model(model, f"{tmp_path}/1")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("death", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_ends_the_writing_leaves_the_previous_output(tmp_path, death):
    path = tmp_path / "output"
    path.write_text("before")
    with pytest.raises(death):
        with files.write_file(str(path)) as file:
            file.write("after")
            file.flush()
            assert path.read_text() == "before"  # What a kill would find here.
            raise death
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["output"]
