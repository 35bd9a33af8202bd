r"""Pretrains a model on video labels; finetune.py does the same on rated segments.

    python train.py --train_data_pattern='data/train*.tfrecord' --train_dir=runs/pretrain --model=mod_nextvlad \
        --rgb_eigenvalues=eigenvals.npy
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from youtube8m_mod import config, overrides, processes
from youtube8m_mod.commands.command import check_companions, run_command
from youtube8m_mod.commands.dataset_flags import dataset, define_dataset_flags, reader_settings
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.training.run import Run
    from youtube8m_mod.training.trainer import TrainingOptions
    from youtube8m_mod.training.validation import ValidationOptions

FLAGS = flags.FLAGS
_PHASE_FLAGS = {
    "batch_size": (flags.DEFINE_integer, "Examples a step"),
    "base_learning_rate": (flags.DEFINE_float, "Adam's learning rate"),
    "learning_rate_decay": (flags.DEFINE_float, "Factor of each decay"),
    "learning_rate_decay_examples": (flags.DEFINE_integer, "Examples from decay to decay"),
    "num_epochs": (flags.DEFINE_integer, "Passes over the data"),
    "max_steps": (flags.DEFINE_integer, "Steps at the most"),
    "temperature": (flags.DEFINE_float, "T of the distillation, 0: none"),
}


def define_training_flags(phase: config.PhaseConfig) -> None:
    """The flags that both training scripts have; None means the phase's default."""
    flags.DEFINE_string("train_data_pattern", None, "Glob of training TFRecords (comma-separated: several).")
    define_dataset_flags()
    flags.DEFINE_string("train_dir", None, "Folder of the run: checkpoints, logs, run.json.", required=True)
    flags.DEFINE_enum(
        "phase",
        phase.name,
        [other.name for other in config.PHASES.values() if other.segments == phase.segments],
        "Named phase: the paper's, or the recipe beyond it (docs/distillation.md).",
    )
    flags.DEFINE_enum("model", "mod_nextvlad", list(config.MODELS), "Named model; any field changes with --set.")
    flags.DEFINE_list("feature_names", None, "Names of the features (default rgb,audio).")
    flags.DEFINE_list("feature_sizes", None, "Their sizes (default 1024,128).")
    flags.DEFINE_string("rgb_eigenvalues", None, ".npy of the dataset's PCA eigenvalues, or none for a scale of one.")
    flags.DEFINE_multi_string("set", [], "field=value of the model or the phase, for instance --set clusters=64.")
    for name, (define, text) in _PHASE_FLAGS.items():
        default = getattr(phase, name)
        define(name, None, f"{text} (default {'no limit' if default is None else default}).")
    flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16"], "Arithmetic of the layers.")
    flags.DEFINE_integer("seed", 0, "Of weights, dropout and the order of the data.")
    flags.DEFINE_integer(
        "checkpoint_steps",
        None,
        "A checkpoint every so many steps (default 1000, or more where that would take over 2% of the time).",
    )
    flags.DEFINE_integer("keep_checkpoints", 3, "Newest checkpoints to keep.")
    flags.DEFINE_integer("log_steps", 100, "A log line every so many steps.")
    flags.DEFINE_string("eval_data_pattern", None, "Glob of held-out TFRecords that are scored during training.")
    flags.DEFINE_integer("eval_steps", None, "Score them every so many steps (default: as checkpoints, or 1000).")
    flags.DEFINE_integer("eval_examples", None, "Score so many examples of them (default: all).")
    flags.DEFINE_string(
        "best_metric",
        None,
        "The best checkpoint is best in this: loss, or <root|leaf|average>_<metric> with gap, hit_at_1, perr, in "
        "finetuning map, bce (default: root_gap, root_map).",
    )
    flags.DEFINE_integer("patience", None, "Stop after so many scores without a better one (default: never).")
    flags.DEFINE_string(
        "teacher",
        None,
        "Trained models that teach this one too: train_dirs, comma-separated, or a folder of them; their logits are "
        "averaged (--set teacher_weight, default teacher_temperature squared).",
    )
    flags.DEFINE_string("teacher_checkpoint", "last", "Which checkpoint of them: last, best, a step, or average:<n>.")
    flags.DEFINE_list(
        "devices",
        None,
        "Devices that subtrees are assigned to, for instance GPU:0,GPU:1 (default: all GPUs; without any, the CPU).",
    )
    flags.DEFINE_bool("data_parallel", False, "The whole model on each device, each with a part of the batch.")
    flags.DEFINE_string(
        "ray_address",
        None,
        "Train on a Ray cluster, a device a subtree: auto (this machine's), local (a new one), or host:port of a head.",
    )
    flags.DEFINE_integer("ray_workers", None, "Devices to take of it (default: one a subtree).")
    flags.DEFINE_integer("max_restarts", 3, "How often to go on by itself where a worker of Ray is lost.")
    flags.DEFINE_float("worker_timeout", 60, "Seconds without an answer after which a worker is lost.")
    flags.DEFINE_integer("logical_cpus", None, "Split the CPU into so many devices.")
    flags.DEFINE_integer("logical_gpus", None, "Split the first GPU into so many devices.")
    flags.DEFINE_integer("logical_gpu_megabytes", 4096, "Memory of each of them.")
    flags.DEFINE_bool("start_new_model", False, "Begin anew: remove what the train_dir holds.")
    flags.DEFINE_bool("skip_bad_records", False, "Count and skip bad records in place of stopping.")
    flags.DEFINE_bool(
        "accept_changed_data",
        False,
        "Go on with other training files, or other held-out records or scores, than the run began with.",
    )


def phase_overrides(phase: config.PhaseConfig, texts: Sequence[str]) -> config.PhaseConfig:
    """The phase with the flags and the --set texts that name its fields."""
    named = {name: FLAGS[name].value for name in _PHASE_FLAGS if FLAGS[name].value is not None}
    phase = overrides.override(phase, [*named.items(), *texts], once=True)
    if FLAGS.teacher is None:
        if FLAGS["teacher_checkpoint"].present or phase.teacher_weight:
            name = "teacher_weight" if phase.teacher_weight else "--teacher_checkpoint"
            raise UserError(f"{name} belongs to --teacher, which is not given.")
    elif not phase.teacher_weight:
        if any(text.partition("=")[0].strip() == "teacher_weight" for text in texts):
            raise UserError("--teacher needs a teacher_weight above 0, got 0.")
        phase = overrides.override(phase, {"teacher_weight": phase.teacher_temperature**2})
    return phase


def training_options(**more: Any) -> "TrainingOptions":
    from youtube8m_mod.training.trainer import TrainingOptions

    names = (
        "checkpoint_steps",
        "keep_checkpoints",
        "log_steps",
        "start_new_model",
        "skip_bad_records",
        "accept_changed_data",
    )
    return TrainingOptions(**{name: getattr(FLAGS, name) for name in names}, reader=reader_settings(), **more)


def validation_options() -> "ValidationOptions | None":
    """The `ValidationOptions` of the flags; None without --eval_data_pattern."""
    from youtube8m_mod.training.validation import ValidationOptions

    names = ("eval_steps", "eval_examples", "best_metric", "patience")
    if FLAGS.eval_data_pattern is None:
        if given := [name for name in names if FLAGS[name].value is not None]:
            raise UserError(f"--{given[0]} needs --eval_data_pattern, the held-out records that are scored.")
        return None
    values = {name.removeprefix("eval_"): FLAGS[name].value for name in names}
    return ValidationOptions(
        FLAGS.eval_data_pattern, **values, skip_bad_records=FLAGS.skip_bad_records, reader=reader_settings()
    )


def train(run: "Run", options: "TrainingOptions") -> int:
    """Trains and prints the closing table; returns the exit code."""
    if FLAGS.max_restarts < 0:
        raise UserError(f"--max_restarts must be at least 0, got {FLAGS.max_restarts}.")
    check_companions({("logical_gpus",): ("logical_gpu_megabytes",)})
    placing = {
        name: FLAGS[name].value for name in ("data_parallel", "logical_cpus", "logical_gpus", "logical_gpu_megabytes")
    } | {"devices": FLAGS.devices}
    teaching = None
    if FLAGS.teacher is not None:
        from youtube8m_mod.inference.teacher import teachers

        teaching = teachers(FLAGS.teacher, FLAGS.teacher_checkpoint, run)
    what = (run, FLAGS.train_dir, FLAGS.train_data_pattern, options, placing, validation_options(), teaching)
    if not FLAGS.ray_address:
        if unused := [name for name in ("ray_workers", "max_restarts") if FLAGS[name].present]:
            raise UserError(f"--{unused[0]} belongs to --ray_address, which is not given.")
        from youtube8m_mod.distribution.servers import Servers, tf_config_addresses

        addresses = tf_config_addresses(os.environ.get("TF_CONFIG"))
        if FLAGS["worker_timeout"].present and not addresses:
            raise UserError("--worker_timeout belongs to --ray_address or to TF_CONFIG, neither of which is given.")
        return _train(Servers(addresses, FLAGS.worker_timeout) if addresses else None, *what)
    if unusable := [name for name in ("data_parallel", "logical_cpus", "logical_gpus") if FLAGS[name].value]:
        raise UserError(f"--{unusable[0]} splits the devices of one machine: it does not go with --ray_address.")
    workers = (run.model.branching or (1,))[0]
    if FLAGS.ray_workers is not None:
        if not 1 <= FLAGS.ray_workers <= workers:
            raise UserError(
                f"--ray_workers must be from 1 to {workers}, the number of subtrees, got {FLAGS.ray_workers}."
            )
        workers = FLAGS.ray_workers
    return processes.supervise(
        _train_on_ray,
        FLAGS.ray_address,
        workers,
        FLAGS.worker_timeout,
        what,
        max_restarts=FLAGS.max_restarts,
    )


def _train_on_ray(supervised, address, workers, timeout, what):
    """`_train` in a process that is started again where a worker is lost."""
    from youtube8m_mod.distribution.ray_workers import RayWorkers

    run, train_dir, pattern, options, *others = what
    if supervised.restarts:
        options = dataclasses.replace(options, start_new_model=False)
    _train(RayWorkers(address, workers, timeout, supervised), run, train_dir, pattern, options, *others)


def _train(cluster, run, train_dir, pattern, options, placing, validation, teaching):
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.processor import check_precision
    from youtube8m_mod.training.history import summary_table
    from youtube8m_mod.training.trainer import Trainer

    with cluster.guard() if cluster else contextlib.nullcontext():
        placement = make_placement(placing.pop("devices"), cluster=cluster, **placing)
        check_precision(run.precision)
        teacher = None
        if teaching:
            from youtube8m_mod.inference.teacher import Teacher

            teacher = Teacher(teaching, run.phase.segments)
        trainer = Trainer(run, train_dir, pattern, options, placement, validation=validation, teacher=teacher)
        print(summary_table(trainer.train()))


def check_training_data() -> None:
    """Raises `UserError` where no flag names the training records."""
    dataset(train_data_pattern="train")
    if not FLAGS.train_data_pattern:
        raise UserError("--train_data_pattern, or --dataset in its place, must name the training records.")


def new_model(texts: Sequence[str]) -> tuple[config.ModelConfig, str | None]:
    """(`ModelConfig` of the flags and the --set texts that name its fields, path of the eigenvalues or None)."""
    given = dataset()
    model = overrides.override(
        config.model_config(FLAGS.model),
        [
            *(given.model_texts() if given else ()),
            *(
                f"{name}={','.join(getattr(FLAGS, name))}"
                for name in ("feature_names", "feature_sizes")
                if getattr(FLAGS, name)
            ),
            *texts,
        ],
        once=True,
    )
    if given and FLAGS.rgb_eigenvalues is None:
        return model, given.path(given.eigenvalues)
    if FLAGS.rgb_eigenvalues is None:
        raise UserError(
            "--rgb_eigenvalues must name the dataset's PCA eigenvalues as a .npy file (from yt8m_pca.tgz of "
            f"{config.DATASET_SITE}), or be none for a scale of one."
        )
    if FLAGS.rgb_eigenvalues.lower() != "none":
        return model, FLAGS.rgb_eigenvalues
    if model.pooling == "nextvlad":
        print(
            f"warning: --rgb_eigenvalues=none: {model.feature_names[0]} features stay whitened (a scale of one).",
            file=sys.stderr,
        )
    return model, None


def main(_: list[str]) -> int:
    from youtube8m_mod.training.run import Run

    check_training_data()
    phase = config.PHASES[FLAGS.phase]
    model_texts, phase_texts = overrides.split_overrides(FLAGS.set, config.model_config(FLAGS.model), phase)
    model, eigenvalues = new_model(model_texts)
    run = Run(model, phase_overrides(phase, phase_texts), FLAGS.seed, FLAGS.precision)
    return train(run, training_options(eigenvalues=eigenvalues))


def define_flags() -> None:
    define_training_flags(config.PHASES["pretrain"])


def run() -> None:
    run_command(main, define_flags)
