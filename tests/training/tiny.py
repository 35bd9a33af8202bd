"""Runs so small that a test can afford several."""

import tensorflow as tf

from youtube8m_mod import config, overrides
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import write_miniature
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import Trainer, TrainingOptions

DATA = dict(
    train_videos=14,
    validate_videos=6,
    test_videos=1,
    min_frames=10,
    max_frames=12,
    feature_names=("rgb",),
    feature_sizes=(8,),
    num_classes=30,
    num_segment_classes=6,
    ratings_per_video=3,
    videos_per_shard=5,
)
MODEL = (
    "feature_names=rgb",
    "feature_sizes=8",
    "num_classes=30",
    "max_frames=12",
    "clusters=2",
    "groups=2",
    "expansion=1",
    "hidden_size=4",
    "gating_reduction=2",
)


def write_data(folder):
    """Writes the miniature; returns the folder as text."""
    write_miniature(str(folder), overrides.override(Settings(), DATA))
    return str(folder)


def run(phase="pretrain", model=(), name="nextvlad_tiny", seed=0, **fields):
    """A `Run` of few steps: batches of 4, no end but what `fields` of the phase give."""
    fields = {"batch_size": 4, "max_steps": None, "num_epochs": None} | fields
    if name == "dbof_tiny":
        model = ("sampled_frames=3", *model)
    return Run(config.model_config(name, [*MODEL, *model]), config.phase_config(phase, fields), seed)


def trainer(data, train_dir, a_run, callbacks=(), validation=None, teacher=None, **options):
    """A `Trainer` on the training videos, or in finetuning on the rated segments, of `data`."""
    pattern = f"{data}/{'validate' if a_run.phase.segments else 'train'}-*.tfrecord"
    options = TrainingOptions(**{"log_steps": 3} | options)
    return Trainer(a_run, str(train_dir), pattern, options, None, callbacks, validation, teacher)


def stored(train_dir, step):
    """{name: array} of a checkpoint."""
    reader = tf.train.load_checkpoint(f"{train_dir}/checkpoint-{step:08d}/variables")
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def assert_same(first, second):
    """Asserts that two results of `stored` are equal bit for bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if first[name].tobytes() != second[name].tobytes()]
    assert not different
