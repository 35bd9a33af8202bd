r"""Makes a train_dir out of a checkpoint of the original TensorFlow 1 code.

    python -m youtube8m_mod.tf1_checkpoint --checkpoint=MODNeXtVLAD/model.ckpt-583000 --train_dir=runs/original \
        --rgb_eigenvalues=eigenvals.npy
"""

import sys

from absl import flags

from youtube8m_mod.commands.command import run_command

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "Prefix of the checkpoint, as model.ckpt-583000.", required=True)
    flags.DEFINE_string("train_dir", None, "New folder of the run.", required=True)
    flags.DEFINE_enum(
        "phase",
        None,
        ["pretrain", "finetune"],
        "What the weights were trained on last (default: finetune "
        "where Adam's powers of beta were carried over from another run, else pretrain).",
    )
    flags.DEFINE_string("rgb_eigenvalues", None, ".npy of the dataset's PCA eigenvalues, or none.")
    flags.DEFINE_alias("eigenvalues", "rgb_eigenvalues")
    flags.DEFINE_multi_string(
        "set", [], "field=value that the variables do not show: max_frames, feature_names, or one of the phase."
    )


def main(_: list[str]) -> None:
    from youtube8m_mod.terminal import format_table
    from youtube8m_mod.tf1.conversion import convert

    eigenvalues = None if (FLAGS.rgb_eigenvalues or "none").lower() == "none" else FLAGS.rgb_eigenvalues
    if FLAGS.rgb_eigenvalues is None:
        print(
            "warning: without --rgb_eigenvalues the model gets a scale of one, which is not what the original was "
            "trained with; name the dataset's PCA eigenvalues to get its predictions.",
            file=sys.stderr,
        )
    print(format_table(convert(FLAGS.checkpoint, FLAGS.train_dir, FLAGS.phase, eigenvalues, FLAGS.set)))


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
