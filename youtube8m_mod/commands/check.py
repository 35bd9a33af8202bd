"""Reads shards ahead of a run and reports what is in them and what is wrong with them.

    python -m youtube8m_mod.data.check --data_pattern='data/*.tfrecord' [--output_file=check.json]

Checked are the framing and checksums of the files, the form of every record (as the reader would judge it, rated
segments included), the ranges of labels and times, and that no id occurs twice. Statistics of the features stand beside
those of the dataset, with a warning where they cannot be of the same kind. Exit code 0: all is well; 1: there are
problems.
"""

from collections.abc import Mapping
from typing import Any

from absl import flags

from youtube8m_mod import files, terminal
from youtube8m_mod.commands.command import check_output_flags, run_command
from youtube8m_mod.commands.dataset_flags import dataset, define_dataset_flags, reader_settings
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import override

FLAGS = flags.FLAGS
_SHOWN = 20  # Problems and duplicates on the screen; the output file lists more.


def define_flags() -> None:
    defaults = ModelConfig("check")
    flags.DEFINE_string("data_pattern", None, "Glob of TFRecords (comma-separated: several; of --dataset: all).")
    flags.DEFINE_list("feature_names", list(defaults.feature_names), "Names of the features.")
    flags.DEFINE_list("feature_sizes", list(map(str, defaults.feature_sizes)), "Their sizes.")
    flags.DEFINE_integer("num_classes", defaults.num_classes, "Size of the vocabulary.")
    flags.DEFINE_string("output_file", None, "Writes the report here as JSON.")
    define_dataset_flags()


def main(_: list[str]) -> int:
    from youtube8m_mod.data.check import check

    given = dataset()
    described = ("feature_names", "feature_sizes", "num_classes")
    if given and (other := [name for name in described if FLAGS[name].present]):
        raise UserError(f"--{other[0]} is given by --dataset, {FLAGS.dataset}: give one of the two.")
    if not (given or FLAGS.data_pattern):
        raise UserError("--data_pattern, or --dataset in its place, must name the records.")
    # A model is not built: "dbof" asks no more of the sizes than that they are sizes.
    config = override(
        ModelConfig("check", pooling="dbof"),
        [
            f"feature_names={','.join(FLAGS.feature_names)}",
            f"feature_sizes={','.join(FLAGS.feature_sizes)}",
            f"num_classes={FLAGS.num_classes}",
        ]
        if given is None
        else given.model_texts(),
    )
    if given and not FLAGS.data_pattern:
        FLAGS.set_default("data_pattern", ",".join(map(given.pattern, given.partitions)))
    check_output_flags(("output_file",), ("dataset",), ("data_pattern",))
    summary = check(FLAGS.data_pattern, config, reader_settings())
    if FLAGS.output_file:
        files.write_json(FLAGS.output_file, summary)
    features, warnings = summary.get("features", {}), summary.get("warnings", [])
    lists = {"problems": summary["problems"], "duplicates": summary.get("duplicates", [])}
    print(terminal.format_table([{"what": what, "value": value} for what, value in _flat(summary)]))
    if features:
        print("\n" + feature_table(features, summary["kind"]) + "\n")
    for sentence in warnings:
        print(f"warning: {sentence}")
    for name, sentences in lists.items():
        for sentence in sentences[:_SHOWN]:
            print(sentence)
        if len(sentences) > _SHOWN:
            print(
                f"... {len(sentences) - _SHOWN:,} more {name}"
                + (f" in {FLAGS.output_file}." if FLAGS.output_file else "; --output_file lists them.")
            )
    return 1 if summary["bad"] or summary.get("duplicate_ids") else 0


def feature_table(features: Mapping[str, dict[str, Any]], kind: str) -> str:
    """The text of the statistics of features, those of the dataset below them."""
    from youtube8m_mod.data.feature_statistics import REFERENCE

    rows = [{"feature": name} | found for name, found in features.items()]
    rows += [{"feature": f"(YouTube-8M's {name})"} | found for name, found in REFERENCE[kind].items()]
    columns = ("feature", "frames", "mean", "deviation", "share_of_0", "share_of_255", "share_beyond_2", "dead_columns")
    return terminal.format_table(rows, [name for name in columns if any(name in row for row in rows)])


def _flat(summary):
    for key, value in summary.items():
        if key == "features":
            continue
        if isinstance(value, dict):
            yield from ((f"{key}: {inner}", count) for inner, count in value.items())
        elif not isinstance(value, list):
            yield key, value


def run() -> None:
    run_command(main, define_flags)
