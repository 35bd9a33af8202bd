"""The paper's tables: in miniature, trained and scored here; in full, the commands (docs/reproduce.md).

python -m youtube8m_mod.reproduce --bank='<glob of video-level TFRecords>' --output_dir=runs/tables
python -m youtube8m_mod.reproduce --scale=full --dry_run
"""

import math
import os
from collections.abc import Mapping, Sequence

from absl import flags

from youtube8m_mod import files, overrides
from youtube8m_mod.commands.command import check_companions, run_command
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce import commands, rows, schedule
from youtube8m_mod.reproduce.scale import DEFAULT, QUICK, Scale

FLAGS = flags.FLAGS
_OF_MINIATURES = (
    "report_only",
    "quick",
    "bank",
    "bank_test",
    "label_names",
    "seeds",
    "output_dir",
    "jobs",
    "ray_address",
)


def main(_: list[str]) -> None:
    if unknown := sorted(set(FLAGS.rows or ()) - set(rows.ROWS)):
        raise UserError(f'--rows must be among {", ".join(rows.ROWS)}, got "{unknown[0]}".')
    check_companions({("bank",): ("bank_test",)})
    if FLAGS.scale == "full":
        if unused := next((name for name in _OF_MINIATURES if FLAGS[name].present), None):
            raise UserError(f"--{unused} belongs to --scale=miniature: at full scale commands are printed.")
        if not FLAGS.dry_run:
            raise UserError(
                "--scale=full takes weeks of several GPUs and is not run from here: --dry_run prints its commands."
            )
        print(commands.full_scale(FLAGS.rows))
        return
    scale = QUICK if FLAGS.quick else DEFAULT
    try:
        seeds = [int(seed) for seed in FLAGS.seeds or ([0] if FLAGS.quick else [0, 1, 2])]
    except ValueError:
        raise UserError(f'--seeds must be integers separated by commas, got "{",".join(FLAGS.seeds)}".') from None
    if min(seeds) < 0 or len({*seeds}) < len(seeds):
        raise UserError(f"--seeds must be different integers of at least 0, got {','.join(map(str, seeds))}.")
    names = read_names(FLAGS.label_names, scale.num_classes) if FLAGS.label_names else None
    tasks = schedule.needed(trainings(), seeds)
    if FLAGS.dry_run:
        print("\n".join(f"{name}, seed {seed}" for name, seed in tasks))
        return
    reproduce(scale, seeds, tasks, names)


def trainings() -> list[list[str]]:
    """Groups of names of the trainings that the flags ask for: the tables first, then GAP, then the exploration."""
    chosen = [rows.ROWS[name].training for name in FLAGS.rows or rows.ROWS]
    # Models of many leaves take most of the time: they come last.
    large = [name for name in chosen if math.prod(rows.TRAININGS[name].tree) > 3]
    groups = [[name for name in chosen if name not in large], large]
    if FLAGS.rows:
        return groups
    if FLAGS.bank:
        groups.append(list(rows.GAP_TRAININGS))
    if not FLAGS.quick:
        groups.append(list(rows.EXPLORED_TRAININGS))
    return groups


def read_names(path: str, num_classes: int) -> dict[int, str]:
    """{class: name} of the miniature's classes, the first `num_classes` of the vocabulary that a file names."""
    from youtube8m_mod.formats.label_names import read_label_names

    names = read_label_names(path)
    if max(names, default=-1) + 1 < num_classes:
        raise UserError(
            f"--label_names: {path} must name the first {num_classes:,} classes of the vocabulary, those of the "
            f"miniature, got names up to class {max(names, default=-1)}."
        )
    return {label: name for label, name in names.items() if label < num_classes}


def reproduce(
    scale: Scale, seeds: Sequence[int], tasks: Sequence[tuple[str, int]], names: Mapping[int, str] | None
) -> None:
    """Trains and scores what is missing, then writes the report."""
    from youtube8m_mod.reproduce import data, report
    from youtube8m_mod.reproduce.place import Place

    place = Place(FLAGS.output_dir, scale, FLAGS.bank, FLAGS.bank_test)
    settings = {"scale": overrides.to_dict(scale), "bank": FLAGS.bank, "bank_test": FLAGS.bank_test}
    results = schedule.Results(FLAGS.output_dir, settings)
    if not FLAGS.report_only:
        if place.bank_path and not files.exists(place.bank_path):
            data.write_bank(FLAGS.bank, place.bank_path, scale.num_classes, scale.feature_sizes)
        if FLAGS.ray_address:
            from youtube8m_mod.reproduce import ray_schedule

            ray_schedule.run_all(place, tasks, results, FLAGS.jobs, FLAGS.ray_address)
        else:
            schedule.run_all(place, tasks, results, FLAGS.jobs or os.cpu_count() or 1)
    print(report.write(place, results, seeds, names))


def define_flags() -> None:
    flags.DEFINE_enum("scale", "miniature", ["miniature", "full"], "Of data and models; full needs --dry_run.")
    flags.DEFINE_bool("dry_run", False, "Print what would be run: with --scale=full, the commands.")
    flags.DEFINE_bool("report_only", False, "Train nothing, write the report of what is there.")
    flags.DEFINE_bool("quick", False, "A smoke run of all rows.")
    flags.DEFINE_string("bank", None, "Glob of video-level TFRecords: real features and labels, and the table of GAPs.")
    flags.DEFINE_string(
        "bank_test", None, "Glob of such records to test on (default: the last sixth of those of --bank)."
    )
    flags.DEFINE_string("label_names", None, "Names of the classes, one a line or a table, for the timelines.")
    flags.DEFINE_list("seeds", None, "Seeds of data and training (default 0,1,2; with --quick 0).")
    flags.DEFINE_list("rows", None, f"Rows of the tables (default: all), among {', '.join(rows.ROWS)}.")
    flags.DEFINE_string("output_dir", "runs/reproduce", "Folder for results.json, report.html, trainings and data.")
    flags.DEFINE_integer("jobs", None, "Trainings at a time (default: one a processor).", lower_bound=1)
    flags.DEFINE_string(
        "ray_address",
        None,
        "Train on a Ray cluster that shares --output_dir: auto (this machine's), local, or host:port of a head.",
    )


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
