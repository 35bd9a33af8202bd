r"""Scores a submission against rated segments (MAP@K, Eq. 8), video predictions against labels (GAP, Hit@1, PERR).

    python eval_map.py --submission_file=submission.csv --eval_data_pattern='data/test*.tfrecord' \
        --label_cache=rated_labels.csv.gz --output_file=map.json --plots=plots
    python eval_map.py --video_predictions_file=videos.csv --eval_data_pattern='data/test*.tfrecord'
"""

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from youtube8m_mod.commands.command import check_companions, check_output_flags, run_command
from youtube8m_mod.commands.dataset_flags import dataset, define_dataset_flags, record_keys
from youtube8m_mod.errors import UserError

FLAGS = flags.FLAGS
_SHOWN = 20
_OF_SUBMISSIONS = ("top_n", "mode", "plots", "label_cache", "label_names")
_OF_FILES = (*_OF_SUBMISSIONS, "strict", "num_classes")


def define_flags() -> None:
    flags.DEFINE_string("submission_file", None, "The submission (Class,Segments), plain or gzip.")
    flags.DEFINE_string("eval_data_pattern", None, "Glob of TFRecords with the ground truth.")
    flags.DEFINE_string(
        "label_cache",
        None,
        "File of rated segments (id,class,score), also the starter code's, plain "
        "or gzip: read where it exists, else written from --eval_data_pattern.",
    )
    flags.DEFINE_integer("top_n", 100_000, "K: a list is cut here; 0 takes all.", lower_bound=0)
    flags.DEFINE_enum(
        "mode",
        "paper",
        ["paper", "author", "starter"],
        "Eq. 8; or as the authors' metric; or as the "
        "starter code's evaluator, its errors included (docs/evaluation.md).",
    )
    flags.DEFINE_bool(
        "strict", True, "What is wrong in a file, or there twice, is an error; --nostrict warns and scores the rest."
    )
    flags.DEFINE_integer("num_classes", 3862, "Size of the vocabulary.", lower_bound=1)
    flags.DEFINE_string("output_file", None, "Writes the results here as JSON.")
    flags.DEFINE_string("plots", None, "Folder for pictures.")
    flags.DEFINE_string("label_names", None, "Names of the classes: the dataset's vocabulary.csv, or one a line.")
    flags.DEFINE_string("video_predictions_file", None, "Video predictions (VideoId,LabelConfidencePairs).")
    flags.DEFINE_string(
        "train_dir", None, "In place of files: score the checkpoints of a training on --eval_data_pattern."
    )
    flags.DEFINE_bool("watch", False, "With --train_dir: go on with every checkpoint that appears.")
    flags.DEFINE_float("watch_timeout", None, "End --watch after so many seconds without a new checkpoint.")
    flags.DEFINE_integer("eval_examples", None, "With --train_dir: score so many examples (default: all).")
    define_dataset_flags(reads_features=False)


def main(_: list[str]) -> None:
    if FLAGS.train_dir:
        dataset(eval_data_pattern="validate")
        score_checkpoints()
        return
    if given := [name for name in ("watch", "watch_timeout", "eval_examples") if FLAGS[name].present]:
        raise UserError(f"--{given[0]} goes with --train_dir, whose checkpoints are scored.")
    if not (FLAGS.submission_file or FLAGS.video_predictions_file):
        raise UserError(
            "--submission_file or --video_predictions_file must name what is to be scored, or --train_dir a training."
        )
    if given := dataset(eval_data_pattern="test"):
        FLAGS.set_default("num_classes", given.num_classes)
        FLAGS.set_default("label_names", given.path(given.label_names))
    check_companions({("submission_file",): _OF_SUBMISSIONS})
    check_output_flags(
        ("label_cache", "output_file"),
        ("submission_file", "video_predictions_file", "label_names", "dataset"),
        ("eval_data_pattern",),
    )
    results = {}
    if FLAGS.submission_file:
        results |= score_submission()
    if FLAGS.video_predictions_file:
        results["videos"] = score_videos()
    if FLAGS.output_file:
        from youtube8m_mod import files

        files.write_json(FLAGS.output_file, results)


def score_checkpoints() -> None:
    """Scores the checkpoints of a training; with --watch each new one."""
    if given := [name for name in _OF_FILES if FLAGS[name].present]:
        raise UserError(f"--{given[0]} belongs to --submission_file, which does not go with --train_dir.")
    if other := [name for name in ("submission_file", "video_predictions_file") if FLAGS[name].present]:
        raise UserError(f"--train_dir and --{other[0]} exclude each other: score checkpoints or files.")
    if not FLAGS.eval_data_pattern:
        raise UserError("--train_dir needs --eval_data_pattern, the held-out records that are scored.")
    if FLAGS.watch_timeout is not None and not FLAGS.watch:
        raise UserError("--watch_timeout goes with --watch.")
    if not (FLAGS.watch_timeout or 0) >= 0:
        raise UserError(f"--watch_timeout must be at least 0, got {FLAGS.watch_timeout:g}.")
    check_output_flags(("output_file",), ("dataset",), ("eval_data_pattern",), ("train_dir",))
    from youtube8m_mod.data.records import ReaderSettings
    from youtube8m_mod.terminal import format_table
    from youtube8m_mod.training.validation import ValidationOptions
    from youtube8m_mod.training.watch import watch

    options = ValidationOptions(
        FLAGS.eval_data_pattern, examples=FLAGS.eval_examples, reader=ReaderSettings(record_keys())
    )
    rows = watch(FLAGS.train_dir, options, FLAGS.output_file, once=not FLAGS.watch, timeout=FLAGS.watch_timeout)
    if not rows:
        raise UserError(f"{FLAGS.train_dir} holds no checkpoint that can be scored.")
    print(format_table(rows))


def score_submission() -> dict[str, Any]:
    """Prints the tables of a submission and returns its JSON."""
    from youtube8m_mod.evaluation import mean_average_precision, rated_labels, summary
    from youtube8m_mod.formats.label_names import read_label_names

    names = read_label_names(FLAGS.label_names, FLAGS.num_classes) if FLAGS.label_names else {}
    repeated = None if FLAGS.strict else []
    rated = rated_labels.load_labels(
        FLAGS.eval_data_pattern, FLAGS.label_cache, repeated, record_keys(), FLAGS.num_classes
    )
    warn_of_repeated(repeated)
    if rated.contradicted:
        warn(
            f"{rated.contradicted:,} ratings contradict an earlier one of the same segment and class; the last counts."
        )
    if unlisted := rated.count_unlisted():
        warn(
            f"{unlisted:,} of {rated.num_ratings:,} ratings start off the multiples of 5 s, or after second 295: "
            "inference lists no such segments, and positives among them count as not found."
        )
    result = mean_average_precision.evaluate(
        FLAGS.submission_file, rated, FLAGS.top_n, FLAGS.mode, FLAGS.strict, FLAGS.num_classes
    )
    if not result.header:
        warn(f"{FLAGS.submission_file} has no header line Class,Segments.")
    for problem in result.problems:
        warn(f"{FLAGS.submission_file}, {problem}.")
    if result.classes and not any(len(scored.relevance) for scored in result.classes):
        warn(f"{FLAGS.submission_file} lists no segment that was rated: it may be of other videos than the labels.")
    print(summary.map_tables(result, names, rated))
    if FLAGS.plots:
        if not result.classes:
            raise UserError("--plots: no class was scored, there is nothing to draw.")
        from youtube8m_mod.evaluation.plots import write_plots

        print("\n" + "\n".join(write_plots(FLAGS.plots, result, names)))
    return summary.map_json(result, names, rated)


def score_videos() -> dict[str, Any]:
    """Prints the scores of video predictions and returns them."""
    import dataclasses

    if not FLAGS.eval_data_pattern:
        raise UserError("--video_predictions_file needs --eval_data_pattern, whose records hold the videos' labels.")
    from youtube8m_mod.data.ground_truth import video_labels
    from youtube8m_mod.data.video_ids import text_of
    from youtube8m_mod.evaluation import summary, video_metrics
    from youtube8m_mod.formats.predictions import read_predictions

    repeated = None if FLAGS.strict else []
    labels = {
        text_of(video_id): classes
        for video_id, classes in video_labels(FLAGS.eval_data_pattern, repeated, record_keys(), FLAGS.num_classes)
    }
    scores = video_metrics.video_scores(labels, read_predictions(FLAGS.video_predictions_file, repeated))
    warn_of_repeated(repeated)
    if scores.videos and scores.videos_without_predictions == scores.videos:
        warn(
            f'{FLAGS.video_predictions_file} predicts none of the {scores.videos:,} videos of "'
            f'{FLAGS.eval_data_pattern}": it may be of other videos, or of segments.'
        )
    print(summary.video_table(scores))
    return dataclasses.asdict(scores)


def warn_of_repeated(sentences: Sequence[str] | None) -> None:
    """Warns of what was listed twice and counted once."""
    for sentence in (sentences or ())[:_SHOWN]:
        warn(f"{sentence[:-1]}; the first counts.")
    if sentences and len(sentences) > _SHOWN:
        warn(f"... and {len(sentences) - _SHOWN:,} more that are listed twice.")


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def run() -> None:
    run_command(main, define_flags)
