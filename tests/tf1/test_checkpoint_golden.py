"""Golden item 9: checkpoints of the original, converted, give its predictions, its state and its submission."""

import csv
import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests import command_line, golden_data
from tests.models import golden_models
from tests.tf1 import tf1_writer
from youtube8m_mod import losses, tf1_checkpoint
from youtube8m_mod.config import PHASES
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.evaluation.mean_average_precision import evaluate
from youtube8m_mod.evaluation.rated_labels import read_cache
from youtube8m_mod.localization.segments import split_segments
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tf1 import conversion, variable_names
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.optimizer import FusedAdam
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import Trainer

GOLDEN = golden_data.item("checkpoint")
ITEM = "9 checkpoint"
DATA = golden_data.path("checkpoint/data/*.tfrecord")
EIGENVALUES = golden_data.path("eigenvals.npy")
CASES = [key for key, value in GOLDEN.info.items() if isinstance(value, dict) and "checkpoint" in value]
PHASE_OF_CASE = {"video_pretrain": "pretrain", "segment_finetune": "finetune"}
SIZES = {
    "groups": "groups",
    "clusters": "clusters",
    "hidden": "hidden_size",
    "expansion": "expansion",
    "gr": "gating_reduction",
}  # Names of the set -> fields of ModelConfig.
LOGITS = dict(relative=1e-5, absolute=4e-5)  # 4e-5 changes a probability by 1e-5 at the most.
CLASS_STRIDE = int(re.search(r"\[\.\.\., ::(\d+)\]", GOLDEN.info["note_columns"])[1])


def prefix(case):
    return golden_data.path(f"checkpoint/{GOLDEN.info[case]['checkpoint']}")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """`converted(case)`: the train_dir that the command makes of the case's checkpoint, once."""

    @functools.cache
    def convert(case):
        train_dir = str(tmp_path_factory.mktemp(case) / "run")
        command_line.call(
            tf1_checkpoint,
            [f"--checkpoint={prefix(case)}", f"--train_dir={train_dir}", f"--rgb_eigenvalues={EIGENVALUES}"],
        )
        return train_dir

    return convert


def test_only_known_cases():
    known = {"item", "salt", "P", "note_columns", "arrays", "segment_inference_csv_mAP", *PHASE_OF_CASE}
    assert set(GOLDEN.info) <= known, f"unknown entries {set(GOLDEN.info) - known}"


@pytest.mark.parametrize("case", CASES)
def test_what_the_variables_tell(case, converted):
    run = Run.load(converted(case))
    sizes = GOLDEN.info["P"]
    with open(golden_data.path(f"checkpoint/{case}/model_flags.json"), encoding="utf-8") as file:
        flags = json.load(file)
    assert run.phase == PHASES[PHASE_OF_CASE[case]]
    assert run.model.branching == ((sizes["towers"],) if sizes["towers"] > 1 else ()) + (sizes["mix"],)
    assert ",".join(map(str, run.model.feature_sizes)) == flags["feature_sizes"]
    assert {name: getattr(run.model, field) for name, field in SIZES.items()} == {name: sizes[name] for name in SIZES}
    assert checkpoint_store.steps(converted(case)) == [GOLDEN.info[case]["global_step"]]


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_carried(case, converted, close):
    """Weights, averages, moments and counters out of the train_dir are those of the TF1 checkpoint, bit for bit."""
    run = Run.load(converted(case))
    model = MOD.for_phase(run.model, run.phase)
    optimizer = FusedAdam(run.phase.base_learning_rate)
    optimizer.build(model.trainable_variables)
    checkpoints.restore_latest(converted(case), model, optimizer)
    names = variable_names.tree_variables(model)
    by_id = {id(variable): name for name, variable in names.items()}
    carried = names | {
        "global_step": optimizer.iterations,
        "beta1_power": optimizer.beta_1_power,
        "beta2_power": optimizer.beta_2_power,
    }
    for variable, m, v in zip(model.trainable_variables, optimizer.first_moments, optimizer.second_moments):
        carried |= {f"{by_id[id(variable)]}/Adam": m, f"{by_id[id(variable)]}/Adam_1": v}
    left_out = {
        name
        for name in GOLDEN.info[case]["variables"]
        if name.startswith("ensemble/") and len(run.model.branching) == 1
    }
    assert set(carried) == set(GOLDEN.info[case]["variables"]) - left_out
    reader = tf.train.load_checkpoint(prefix(case))
    for name, variable in carried.items():
        np.testing.assert_array_equal(variable.numpy(), reader.get_tensor(name), err_msg=name)
        if name in GOLDEN.info[case]["checkpoint_sums"]:
            value = variable.numpy().astype(np.float64)
            # A sum of moments cancels to nearly 0: to what the l2 norm makes of float32.
            total, norm = GOLDEN.info[case]["checkpoint_sums"][name]
            close(ITEM, "variables, l2", np.linalg.norm(value), norm, relative=1e-6)
            close(ITEM, "variables, sum", value.sum(), total, relative=1e-6, absolute=1e-6 * norm * value.size**0.5)
    for name, moments in GOLDEN.info[case]["ensemble_bn"].items():
        if name not in left_out:
            assert [names[name].numpy().mean(), names[name].numpy().std()] == moments


def first_examples(reader, count, batch_size=16):
    """The first `count` examples of a reader as one batch."""
    batches, found = [], 0
    for batch in reader.read(batch_size):
        batches.append(batch)
        found += len(batch["ids"])
        if found >= count:
            break
    return {key: tf.concat([batch[key] for batch in batches], 0)[:count] for key in batches[0]}


@pytest.mark.parametrize("case", CASES)
def test_scores(case, converted, close):
    info = GOLDEN.info[case]
    model, run = checkpoints.load_model(converted(case))
    batch = first_examples(Reader(DATA, run.model, segments=run.phase.segments), info["n"])
    assert [video.decode() for video in batch["ids"].numpy()] == info["video_ids"]
    np.testing.assert_array_equal(batch["num_frames"], GOLDEN.array(case, "num_frames"))
    output = model.tree(batch)
    # Of a net over one tower, whose weight is 1, the conversion keeps the tower.
    towers = output.children if len(run.model.branching) == 2 else (output,)
    weights = output.weights if len(towers) > 1 else tf.ones((info["n"], 1))
    stride = CLASS_STRIDE
    values = {
        "final_predictions": (output.probabilities, dict(absolute=1e-5)),
        "final_mix_weights": (weights, dict(absolute=1e-5)),
        "tower_logits": (tf.stack([tower.logits[:, ::stride] for tower in towers], 1), LOGITS),
        "aux_predictions": (
            tf.stack(
                [tf.stack([leaf.probabilities[:, ::stride] for leaf in tower.children], 1) for tower in towers], 1
            ),
            dict(absolute=1e-5),
        ),
        "label_loss": (
            losses.binary_cross_entropy(
                tf.cast(batch["labels"], tf.float32),
                output.probabilities,
                tf.cast(batch["label_weights"], tf.float32) if run.phase.segments else None,
            ),
            dict(relative=1e-5),
        ),
        "num_frames": (batch["num_frames"], dict(absolute=0)),
    }
    if run.phase.segments:
        model.scaling.scale.assign(tf.ones_like(model.scaling.scale))
        whitened = model.scaling(batch["features"], batch["present_frames"]) + model.scaling.offset
        values["video_matrix"] = (whitened, dict(absolute=1e-6))
    assert set(GOLDEN.keys(case)) == set(values)
    for name, (value, tolerance) in values.items():
        close(ITEM, f"{name}, {case}", value, GOLDEN.array(case, name), **tolerance)


def read_csv(name):
    with open(golden_data.path(f"checkpoint/{name}"), encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def batches_of_videos(run, batch_size=8):
    return Reader(DATA, run.model).read(batch_size)


def test_videos_of_the_original_s_inference(converted, close):
    """Every pair of the original's video_inference.csv, which prints six digits."""
    model, run = checkpoints.load_model(converted("video_pretrain"))
    scores = {}
    for batch in batches_of_videos(run):
        scores |= zip([video.decode() for video in batch["ids"].numpy()], model(batch).numpy())
    rows = read_csv("video_inference.csv")
    assert [video for video, _ in rows] == list(scores)
    for video, pairs in rows:
        classes, values = np.array(pairs.split()[::2], int), np.array(pairs.split()[1::2], float)
        assert np.argsort(-scores[video], kind="stable")[: len(classes)].tolist() == classes.tolist()
        close(ITEM, "video_inference.csv", scores[video][classes], values, absolute=1e-5)


def test_segments_of_the_original_s_inference(converted, close):
    """The original's submission: all segments of a class in the order of their scores."""
    model, run = checkpoints.load_model(converted("segment_finetune"))
    scores = {}
    for batch in batches_of_videos(run):
        features, present, videos, starts = split_segments(batch["features"], batch["num_frames"])
        probabilities = model({"features": features, "present_frames": present}).numpy()
        ids = [batch["ids"].numpy()[video].decode() for video in videos.numpy()]
        scores |= {f"{video}:{start}": row for video, start, row in zip(ids, starts.numpy(), probabilities)}
    rows = read_csv("segment_inference.csv")
    for name, segments in rows:
        segments = segments.split()
        assert set(segments) == set(scores) and len(segments) == len(scores)
        ordered = np.array([scores[segment][int(name)] for segment in segments])
        # The original sorts scores that it printed with six digits, which 1e-5 covers.
        close(ITEM, "segment_inference.csv, order", ordered, np.sort(ordered)[::-1], absolute=1e-5)


def test_map_of_the_original_s_submission(close):
    expected = GOLDEN.info["segment_inference_csv_mAP"]
    result = evaluate(
        golden_data.path("checkpoint/segment_inference.csv"),
        read_cache(golden_data.path("checkpoint/data/rated_labels.csv")),
    )
    assert result.counts["classes_scored"] == expected["num_classes_with_positives"]
    close(ITEM, "MAP of segment_inference.csv", result.map, expected["map"], absolute=1e-12)


def _full_width_cases():
    """(item, case) of models with the dataset's feature sizes, one of each kind and mode, in evaluation."""
    found = {}
    for name in ("nextvlad_model", "mix_model"):
        item = golden_data.item(name)
        for case, info in item.cases.items():
            if not info["is_training"] and info.get("cls") != "mixbranch":
                found.setdefault((name, info["segment"]), (name, case))
    return list(found.values())


@pytest.mark.parametrize("name, case", _full_width_cases())
def test_checkpoint_of_full_width(name, case, tmp_path, close):
    """The recipe's weights in a checkpoint with rgb and audio of 1024 + 128, through file, train_dir and model."""
    item = golden_data.item(name)
    info = item.cases[case]
    prefix_of_case = case.split("_")[0]
    width = sum(golden_models.feature_sizes(info))
    weights = {key: item.variable(prefix_of_case, key, shape) for key, shape in info["variables"]}
    checkpoint = tf1_writer.write(
        str(tmp_path / "tf1"), tf1_writer.with_optimizer(weights | tf1_writer.root_net(width))
    )
    conversion.convert(
        checkpoint,
        str(tmp_path / "run"),
        "finetune" if info["segment"] else "pretrain",
        changes=[f"max_frames={info['frames']}", "clip_features=false"],
    )
    model, run = checkpoints.load_model(str(tmp_path / "run"))
    expected = golden_models.model_config(info, (info["mix_number"],) if "mix_number" in info else ())
    assert run.model == dataclasses.replace(expected, name=run.model.name, clip_features=False)
    # These cases hold the model's own input, which no stored feature bounds: with a scale of one only the quantiser's
    # offset is taken off.
    features = golden_models.frames(info, item, prefix_of_case) + model.scaling.offset
    batch = {"features": tf.constant(features, tf.float32)}
    if not info["segment"]:
        batch["num_frames"] = tf.constant(info["num_frames"])
    close(ITEM, f"predictions, {name}", model(batch), item.array(case, "predictions"), absolute=1e-5)


@pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.
def test_finetuning_goes_on(converted, tmp_path, eager):
    """A finetuning from the pretrained checkpoint starts with its weights and moments, at step 0, and learns."""
    earlier = Run.load(converted("video_pretrain"))
    phase = dataclasses.replace(PHASES["finetune"], batch_size=16, max_steps=3, base_learning_rate=0.002)
    run = Run(earlier.model, phase, started_from=converted("video_pretrain"))
    trainer = Trainer(run, str(tmp_path), DATA)
    reader = tf.train.load_checkpoint(prefix("video_pretrain"))
    assert int(trainer.optimizer.iterations) == 0
    names = {id(variable): name for name, variable in variable_names.tree_variables(trainer.model).items()}
    for variable, moment in zip(trainer.model.trainable_variables, trainer.optimizer.second_moments):
        np.testing.assert_array_equal(moment, reader.get_tensor(f"{names[id(variable)]}/Adam_1"))
    power = reader.get_tensor("beta1_power")
    assert float(trainer.optimizer.beta_1_power) == power
    result = trainer.train()
    assert result["step"] == 3 and np.isfinite(result["loss"])
    np.testing.assert_allclose(trainer.optimizer.beta_1_power, power * trainer.optimizer.beta_1**3, rtol=1e-6)


def test_the_original_carries_the_powers_of_beta_too():
    """Which tells a finetuned checkpoint: its powers have seen the steps of both phases."""
    powers = [GOLDEN.info[case]["checkpoint_sums"]["beta1_power"][0] for case in ("video_pretrain", "segment_finetune")]
    steps = [GOLDEN.info[case]["global_step"] for case in ("video_pretrain", "segment_finetune")]
    np.testing.assert_allclose(powers, [0.9 ** (steps[0] + 1), 0.9 ** (sum(steps) + 1)], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Even though")
def test_training_goes_on_in_the_converted_train_dir(tmp_path, eager):
    """The command's train_dir is a run like any other: the same run goes on from its step."""
    train_dir = str(tmp_path / "run")
    step = GOLDEN.info["segment_finetune"]["global_step"]
    settings = ["batch_size=16", f"max_steps={step + 2}", "original_accidents=true"]
    conversion.convert(prefix("segment_finetune"), train_dir, eigenvalues=EIGENVALUES, changes=settings)
    run = Run.load(train_dir)
    result = Trainer(run, train_dir, DATA).train()
    assert result["step"] == step + 2 and np.isfinite(result["loss"])
    assert checkpoint_store.steps(train_dir)[-1] == step + 2
