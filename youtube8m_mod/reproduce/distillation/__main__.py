"""Recipes of distillation on real video-level records, in pairs (docs/distillation.md).

python -m youtube8m_mod.reproduce.distillation --bank='<train*.tfrecord>' --bank_test='<test*.tfrecord>' \
    --output_dir=runs/distillation

Each training is a file of its own: the same command goes on with what is missing, and several processes with other
--seeds may share a folder.
"""

import os
from collections.abc import Sequence

from absl import flags

from youtube8m_mod import files
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce.distillation import comparison
from youtube8m_mod.reproduce.distillation.arms import SIZES, Size
from youtube8m_mod.terminal import progress

FLAGS = flags.FLAGS


def main(_: list[str]) -> None:
    size = SIZES[FLAGS.size]
    arms = FLAGS.arms or size.arms
    if unknown := sorted(set(arms) - set(size.arms)):
        raise UserError(f'--arms must be among {"; ".join(size.arms)}, got "{unknown[0]}".')
    try:
        seeds = [int(seed) for seed in FLAGS.seeds]
    except ValueError:
        raise UserError(f'--seeds must be integers separated by commas, got "{",".join(FLAGS.seeds)}".') from None
    if not (FLAGS.bank or FLAGS.report_only):
        raise UserError("--bank must be given, or --report_only.")
    if not FLAGS.report_only:
        train(size, [(arm, seed) for seed in seeds for arm in arms])
    print(comparison.write(FLAGS.output_dir, size))


def train(size: Size, tasks: Sequence[tuple[str, int]]) -> None:
    """Trains what is missing: all arms of a seed, then the next seed."""
    missing = [task for task in tasks if not files.exists(path_of(size, *task))]
    if not missing:
        return
    from youtube8m_mod.reproduce.distillation.training import Trainings
    from youtube8m_mod.reproduce.work import limit_threads

    limit_threads(1)
    files.make_dirs(FLAGS.output_dir)
    trainings = Trainings(size, FLAGS.bank, FLAGS.bank_test)
    with progress(total=len(tasks), initial=len(tasks) - len(missing), unit="training", description=size.name) as bar:
        for arm, seed in missing:
            bar.set_postfix_str(f"{arm}, seed {seed}")
            found = trainings.run(arm, seed)
            about = {"size": size.name, "arm": arm, "seed": seed, "phase": size.described(arm)}
            files.write_json(path_of(size, arm, seed), about | found)
            bar.update()


def path_of(size: Size, arm: str, seed: int) -> str:
    """Where a training's result lies."""
    name = "".join(letter if letter.isalnum() else "_" for letter in arm)
    return os.path.join(FLAGS.output_dir, f"{size.name}-{name}-seed{seed}.json")


def define_flags() -> None:
    flags.DEFINE_string("bank", None, "Glob of video-level TFRecords to train on.")
    flags.DEFINE_string(
        "bank_test", None, "Glob of such records to score, a half for validation (default: the last sixth of --bank)."
    )
    flags.DEFINE_string("output_dir", "runs/distillation", "Folder for a JSON file of each training, and the tables.")
    flags.DEFINE_enum("size", "full", list(SIZES), "Of the vocabulary: all classes, the 1000 commonest, a smoke run.")
    flags.DEFINE_multi_string("arms", None, "A recipe to train, repeatable (default: all of the size).")
    flags.DEFINE_list("seeds", [str(seed) for seed in range(10)], "Of data, order and weights.")
    flags.DEFINE_bool("report_only", False, "Train nothing, write the tables of what is there.")


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
