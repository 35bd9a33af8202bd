"""Trained models that teach another: their logits, the gradient of what they teach, exact resume, errors."""

import contextlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.command_line import call
from tests.training import tiny
from tests.training.test_resume import Killed, KilledAt
from youtube8m_mod import losses
from youtube8m_mod.commands import finetune, train
from youtube8m_mod.config import phase_config
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.teacher import Teacher, teachers
from youtube8m_mod.models.batch import labels_of
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.history import read_history
from youtube8m_mod.training.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.


@pytest.fixture(scope="module")
def models(data, tmp_path_factory):
    """A folder of two train_dirs, "a" and "b", trained on videos: a single model and a mixture."""
    folder = tmp_path_factory.mktemp("models")
    tiny.trainer(data, folder / "a", tiny.run(max_steps=2)).train()
    tiny.trainer(data, folder / "b", tiny.run(max_steps=2, name="mix_nextvlad_tiny", model=("branching=2",))).train()
    return folder


def student(**fields):
    return tiny.run(max_steps=4, **{"teacher_weight": 2.0, "teacher_temperature": 2.0} | fields)


def test_logits_are_the_mean_of_the_models(data, models):
    run = student()
    teacher = Teacher(teachers(f"{models}/a,{models}/b", "last", run), segments=False)
    batch = next(iter(Reader(f"{data}/train-*.tfrecord", run.model).read(4)))
    one_frame = batch | {"features": batch["features"][:, :1]}  # As video-level records have.
    one_frame |= {name: tf.ones_like(batch[name]) for name in ("num_frames", "present_frames")}
    trained = [checkpoints.load_model(f"{models}/{name}")[0] for name in "ab"]
    for given in (batch, one_frame):
        expected = np.mean([model.tree(given).logits for model in trained], axis=0)
        np.testing.assert_allclose(teacher(given), expected, atol=1e-4)
    assert [len(steps) for _, steps in run.teachers] == [1, 1]
    assert [steps[0][0] for _, steps in run.teachers] == [2, 2]


def test_a_folder_stands_for_the_models_in_it(models):
    run, listed = student(), student()
    teachers(str(models), "last", run)
    teachers(f"{models}/a, {models}/b", "2", listed)
    assert run.teachers == listed.teachers and len(run.teachers) == 2


def test_segments_are_scored_as_segments(data, models):
    run = student(phase="finetune")
    teacher = Teacher(teachers(f"{models}/a", "last", run), segments=True)
    batch = next(iter(Reader(f"{data}/validate-*.tfrecord", run.model, segments=True).read(4)))
    model, _ = checkpoints.load_model(f"{models}/a", frames=5)
    np.testing.assert_allclose(teacher(batch), model.tree(batch).logits, atol=1e-4)


@pytest.mark.parametrize("branching", ["", "branching=2"])
def test_gradients_are_those_of_the_whole_loss(data, eager, branching):
    """Those that a single tape gives, in every node."""
    name = "mix_nextvlad_tiny" if branching else "nextvlad_tiny"
    run = student(name=name, model=(branching,) if branching else (), dropout=0)
    model = MOD.for_phase(run.model, run.phase)
    model.compile("adam")
    batch = dict(next(iter(Reader(f"{data}/train-*.tfrecord", run.model).read(4))))
    del batch["ids"]
    logits = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    terms, gradients, _ = model.losses_and_gradients(batch | {"teacher_logits": logits})
    with tf.GradientTape() as tape:
        output = model.tree(batch, training=True)
        expected = losses.tree_losses(output, *labels_of(batch), run.phase)
        expected |= losses.teacher_losses(output, logits, None, run.phase)
        for index in range(len(model.subtrees)):
            expected |= model.l2_term(index)
        total = losses.total_loss(expected, run.phase)
    assert terms.keys() == expected.keys() and "teacher" in terms
    for found, wanted in zip(gradients, tape.gradient(total, [v.value for v in model.trainable_variables])):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match='expected "teacher_logits" in the batch'):
        model.losses_and_gradients(batch)


def test_a_killed_student_ends_as_one_that_was_not(data, models, tmp_path, eager):
    for folder, steps in (("whole", (None,)), ("killed", (2, 4, None))):
        for step in steps:
            run = student()
            teacher = Teacher(teachers(str(models), "last", run), segments=False)
            trainer = tiny.trainer(
                data, tmp_path / folder, run, [KilledAt(step, True)], teacher=teacher, checkpoint_steps=1, log_steps=1
            )
            with contextlib.suppress(Killed):
                trainer.train()
    tiny.assert_same(tiny.stored(tmp_path / "whole", 4), tiny.stored(tmp_path / "killed", 4))
    assert Run.load(str(tmp_path / "killed")).teachers == run.teachers
    assert all(line["teacher_level_0"] > 0 for line in read_history(str(tmp_path / "killed")))


def flags_of(data, train_dir, *more, partition="train"):
    return [
        f"--train_data_pattern={data}/{partition}-*.tfrecord",
        f"--train_dir={train_dir}",
        "--model=nextvlad_tiny",
        "--rgb_eigenvalues=none",
        "--batch_size=4",
        "--max_steps=1",
        *(f"--set={text}" for text in tiny.MODEL),
        *more,
    ]


def test_commands_and_what_they_refuse(data, models, tmp_path, eager):
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    flags = flags_of(data, tmp_path / "run", f"--teacher={copy}/a", "--set=teacher_temperature=3")
    call(train, flags)
    run = Run.load(str(tmp_path / "run"))
    assert run.phase.teacher_weight == 9 and [place for place, _ in run.teachers] == [str(copy / "a")]
    call(finetune, flags_of(data, tmp_path / "finetune", f"--teacher={copy}", partition="validate"))
    with pytest.raises(
        UserError, match="holds a run that learns from step 2 of .*/a, now from step 2 of .*/b; use the"
    ):
        call(train, [text.replace("models/a", "models/b") for text in flags])
    with pytest.raises(UserError, match="differs in teacher_weight"):
        call(train, [*flags_of(data, tmp_path / "run"), "--set=teacher_temperature=3"])


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["--teacher={models}/c"], "/c is not a train_dir: .*/c/run.json does not exist"),
        (["--teacher={data}"], "is no train_dir, and holds none"),
        (["--teacher={models}/a,{models}/a"], "--teacher names .*/a twice"),
        (["--teacher={models}/a,"], "--teacher must be train_dirs separated by commas, got an empty one"),
        (["--teacher={models}/a", "--teacher_checkpoint=7"], "holds no checkpoint of step 7, but of 2"),
        (["--teacher={models}/a", "--set=teacher_weight=0"], "--teacher needs a teacher_weight above 0, got 0"),
        (["--teacher_checkpoint=best"], "--teacher_checkpoint belongs to --teacher, which is not given"),
        (["--set=teacher_weight=1"], "teacher_weight belongs to --teacher, which is not given"),
    ],
)
def test_teachers_that_cannot_be(data, models, tmp_path, texts, expected):
    with pytest.raises(UserError, match=expected):
        call(train, flags_of(data, tmp_path / "run", *(text.format(models=models, data=data) for text in texts)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "model, expected",
    [
        (("num_classes=31",), "/a and this run must have the same num_classes, got 30 and 31"),
        (
            ("feature_sizes=9", "expansion=2"),
            r"/a and this run must have the same feature_sizes, got \(8,\) and \(9,\)",
        ),
    ],
)
def test_a_teacher_of_other_classes_or_features(models, model, expected):
    settings = [text for text in tiny.MODEL if text.partition("=")[0] not in {m.partition("=")[0] for m in model}]
    run = Run(tiny.config.model_config("nextvlad_tiny", [*settings, *model]), phase_config("pretrain", {}))
    with pytest.raises(UserError, match=expected):
        teachers(f"{models}/a", "last", run)


def test_a_trainer_needs_both_or_neither(data, tmp_path):
    with pytest.raises(UserError, match="got none and teacher_weight 2"):
        tiny.trainer(data, tmp_path / "run", student())


def test_damaged_teachers_of_a_run(models, tmp_path):
    values = json.loads((models / "a" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(values | {"teachers": [["a", [2]]]}))
    with pytest.raises(UserError, match="teachers must hold train_dir and checkpoints"):
        Run.load(str(tmp_path))
