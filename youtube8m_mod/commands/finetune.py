r"""Finetunes a pretrained model on rated 5-frame segments, or trains one on them from scratch.

    python finetune.py --train_data_pattern='data/validate*.tfrecord' --pretrained_dir=runs/pretrain \
        --train_dir=runs/finetune
"""

from collections.abc import Sequence

from absl import flags

from youtube8m_mod import config, overrides
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.commands.dataset_flags import dataset
from youtube8m_mod.commands.train import (
    FLAGS,
    check_training_data,
    define_training_flags,
    new_model,
    phase_overrides,
    train,
    training_options,
)
from youtube8m_mod.data.dataset import Dataset
from youtube8m_mod.errors import UserError


def main(_: list[str]) -> int:
    from youtube8m_mod.training.run import Run

    check_training_data()
    phase = config.PHASES[FLAGS.phase]
    earlier = Run.load(FLAGS.pretrained_dir) if FLAGS.pretrained_dir else None
    named = earlier.model if earlier else config.model_config(FLAGS.model)
    model_texts, phase_texts = overrides.split_overrides(FLAGS.set, named, phase)
    given = dataset()
    new_classes = bool(earlier) and (
        FLAGS.new_classes or bool(given and given.num_classes != earlier.model.num_classes)
    )
    if FLAGS.new_classes and not earlier:
        raise UserError("--new_classes goes with --pretrained_dir, whose model gets another vocabulary.")
    if new_classes:
        model = vocabulary_of(earlier.model, given, model_texts, FLAGS.pretrained_dir)
        model_texts = []
    if earlier:
        changed = [
            f"--{name}"
            for name in ("model", "feature_names", "feature_sizes", "rgb_eigenvalues")
            if FLAGS[name].present
        ] + [f"--set {text}" for text in model_texts]
        if changed:
            raise UserError(f"{changed[0]} would change the model, which is that of {FLAGS.pretrained_dir}.")
        if not new_classes:
            model = earlier.model
        if given and (changed := overrides.differences(model, given_fields(model, given))):
            raise UserError(
                f"{FLAGS.dataset} does not fit the model of {FLAGS.pretrained_dir}: other {', '.join(changed)}."
            )
        eigenvalues = None
    else:
        model, eigenvalues = new_model(model_texts)
    run = Run(
        model,
        phase_overrides(phase, phase_texts),
        FLAGS.seed,
        FLAGS.precision,
        started_from=FLAGS.pretrained_dir,
        new_classes=new_classes,
        freeze_trunk=FLAGS.freeze_trunk,
    )
    if FLAGS["checkpoint"].present and not earlier:
        raise UserError("--checkpoint goes with --pretrained_dir, of which it names a checkpoint.")
    return train(run, training_options(eigenvalues=eigenvalues, pretrained_checkpoint=FLAGS.checkpoint))


def given_fields(model: config.ModelConfig, given: Dataset) -> config.ModelConfig:
    """The `ModelConfig` with what a `Dataset` says of its records."""
    return overrides.override(model, given.model_fields())


def vocabulary_of(
    model: config.ModelConfig, given: Dataset | None, texts: Sequence[str], pretrained_dir: str
) -> config.ModelConfig:
    """The pretrained `ModelConfig` with the size of another vocabulary."""
    other = [text for text in texts if text.partition("=")[0] != "num_classes"]
    if other:
        raise UserError(f"--set {other[0]} would change the model, which is that of {pretrained_dir}.")
    size = [f"num_classes={given.num_classes}"] if given else []
    return overrides.override(model, [*size, *texts], once=True)


def define_flags() -> None:
    define_training_flags(config.PHASES["finetune"])
    flags.DEFINE_bool(
        "new_classes",
        False,
        "The data have another vocabulary than --pretrained_dir: classifiers are made anew, all else is restored "
        "(--set num_classes or --dataset gives its size; implied where --dataset has another).",
    )
    flags.DEFINE_bool("freeze_trunk", False, "Train classifiers and mixing nets only.")
    flags.DEFINE_string("pretrained_dir", None, "train_dir to start from; none: train from scratch.")
    flags.DEFINE_string(
        "checkpoint", "last", "Which checkpoint of --pretrained_dir: last, best, a step, or average:<n>."
    )


def run() -> None:
    run_command(main, define_flags)
