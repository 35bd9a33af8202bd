"""The paper's tables: in miniature, trained and scored here; in full, the commands (docs/reproduce.md).

python -m youtube8m_mod.reproduce --bank='<glob of video-level TFRecords>' --output_dir=runs/tables
python -m youtube8m_mod.reproduce --scale=full --dry_run
"""

import argparse
import math
import os
import sys

from youtube8m_mod import files, overrides
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.reproduce import commands, rows, schedule
from youtube8m_mod.reproduce.scale import DEFAULT, QUICK


def main(argv):
    arguments = _parser().parse_args(argv)
    if unknown := sorted(set(arguments.rows or ()) - set(rows.ROWS)):
        raise UserError(f'--rows must be among {", ".join(rows.ROWS)}, got "{unknown[0]}".')
    if arguments.scale == "full":
        if not arguments.dry_run:
            raise UserError(
                "--scale=full takes weeks of several GPUs and is not run from here: --dry_run prints its commands."
            )
        print(commands.full_scale(arguments.rows))
        return
    scale = QUICK if arguments.quick else DEFAULT
    try:
        seeds = [int(seed) for seed in (arguments.seeds or ("0" if arguments.quick else "0,1,2")).split(",")]
    except ValueError:
        raise UserError(f'--seeds must be integers separated by commas, got "{arguments.seeds}".') from None
    tasks = schedule.needed(trainings(arguments), seeds)
    if arguments.dry_run:
        print("\n".join(f"{name}, seed {seed}" for name, seed in tasks))
        return
    reproduce(arguments, scale, seeds, tasks)


def trainings(arguments):
    """Groups of names of the trainings that the arguments ask for: the tables first, then GAP, then the exploration."""
    chosen = [rows.ROWS[name].training for name in arguments.rows or rows.ROWS]
    # Models of many leaves take most of the time: they come last.
    large = [name for name in chosen if math.prod(rows.TRAININGS[name].tree) > 3]
    groups = [[name for name in chosen if name not in large], large]
    if arguments.rows:
        return groups
    if arguments.bank:
        groups.append(list(rows.GAP_TRAININGS))
    if not arguments.quick:
        groups.append(list(rows.EXPLORED_TRAININGS))
    return groups


def reproduce(arguments, scale, seeds, tasks):
    """Trains and scores what is missing, then writes the report."""
    from youtube8m_mod.evaluation.summary import read_label_names
    from youtube8m_mod.reproduce import data, report
    from youtube8m_mod.reproduce.place import Place

    place = Place(arguments.output_dir, scale, arguments.bank, arguments.bank_test)
    settings = {"scale": overrides.to_dict(scale), "bank": arguments.bank, "bank_test": arguments.bank_test}
    if arguments.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {arguments.jobs}.")
    results = schedule.Results(arguments.output_dir, settings)
    if not arguments.report_only:
        if place.bank_path and not files.exists(place.bank_path):
            data.write_bank(arguments.bank, place.bank_path, scale.num_classes, scale.feature_sizes)
        schedule.run_all(place, tasks, results, arguments.jobs)
    names = read_label_names(arguments.label_names) if arguments.label_names else None
    print(report.write(place, results, seeds, names))


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m youtube8m_mod.reproduce", allow_abbrev=False, description=__doc__.split("\n")[0]
    )
    parser.add_argument("--scale", choices=["miniature", "full"], default="miniature")
    parser.add_argument("--dry_run", action="store_true", help="print what would be run: with full, the commands")
    parser.add_argument("--report_only", action="store_true", help="train nothing, write the report of what is there")
    parser.add_argument("--quick", action="store_true", help="a smoke run of all rows")
    parser.add_argument("--bank", help="glob of video-level TFRecords: real features and labels, and the table of GAPs")
    parser.add_argument(
        "--bank_test", help="glob of such records to test on (default: the last sixth of --bank's files)"
    )
    parser.add_argument("--label_names", help="names of the classes, one a line, for the timelines")
    parser.add_argument("--seeds", help="comma-separated (default 0,1,2; with --quick 0)")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="comma-separated names of rows; default: all")
    parser.add_argument("--output_dir", default="runs/reproduce", help="results.json, report.html, trainings, data")
    parser.add_argument("--jobs", type=int, default=max(os.cpu_count() or 1, 1), help="trainings at a time")
    return parser


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
