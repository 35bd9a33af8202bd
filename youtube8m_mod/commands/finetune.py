r"""Finetunes a pretrained model on rated 5-frame segments, or trains one on them from scratch.

    python finetune.py --train_data_pattern='data/validate*.tfrecord' --pretrained_dir=runs/pretrain \
        --train_dir=runs/finetune
"""

from absl import flags

from youtube8m_mod import config, overrides
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.commands.train import (
    FLAGS,
    define_training_flags,
    new_model,
    phase_overrides,
    train,
    training_options,
)
from youtube8m_mod.errors import UserError


def main(_):
    from youtube8m_mod.training.checkpoints import Run

    phase = config.PHASES["finetune"]
    earlier = Run.load(FLAGS.pretrained_dir) if FLAGS.pretrained_dir else None
    named = earlier.model if earlier else config.model_config(FLAGS.model)
    model_texts, phase_texts = overrides.split_overrides(FLAGS.set, named, phase)
    if earlier:
        changed = [
            f"--{name}"
            for name in ("model", "feature_names", "feature_sizes", "rgb_eigenvalues")
            if FLAGS[name].present
        ] + [f"--set {text}" for text in model_texts]
        if changed:
            raise UserError(f"{changed[0]} would change the model, which is that of {FLAGS.pretrained_dir}.")
        model, eigenvalues = earlier.model, None
    else:
        model, eigenvalues = new_model(model_texts)
    run = Run(
        model, phase_overrides(phase, phase_texts), FLAGS.seed, FLAGS.precision, started_from=FLAGS.pretrained_dir
    )
    return train(run, training_options(eigenvalues=eigenvalues))


def define_flags():
    define_training_flags(config.PHASES["finetune"])
    flags.DEFINE_string("pretrained_dir", None, "train_dir to start from; none: train from scratch.")


def run():
    run_command(main, define_flags)
