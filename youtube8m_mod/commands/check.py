"""Reads shards ahead of a run and reports what is in them and what is wrong with them.

    python -m youtube8m_mod.data.check --data_pattern='data/*.tfrecord' [--output_file=check.json]

Checked are the framing and checksums of the files, the form of every record (as the reader would judge it, rated
segments included), the ranges of labels and times, and that no id occurs twice. Exit code 0: all is well; 1: there are
problems.
"""

from absl import flags

from youtube8m_mod import files, terminal
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.overrides import override

FLAGS = flags.FLAGS
_SHOWN = 20  # Problems and duplicates on the screen; the output file lists more.


def define_flags():
    defaults = ModelConfig("check")
    flags.DEFINE_string("data_pattern", None, "Glob of TFRecords (comma-separated: several).", required=True)
    flags.DEFINE_list("feature_names", list(defaults.feature_names), "Names of the features.")
    flags.DEFINE_list("feature_sizes", list(map(str, defaults.feature_sizes)), "Their sizes.")
    flags.DEFINE_integer("num_classes", defaults.num_classes, "Size of the vocabulary.")
    flags.DEFINE_string("output_file", None, "Writes the report here as JSON.")


def main(_):
    from youtube8m_mod.data.check import check

    # A model is not built: "dbof" asks no more of the sizes than that they are sizes.
    config = override(
        ModelConfig("check", pooling="dbof"),
        [
            f"feature_names={','.join(FLAGS.feature_names)}",
            f"feature_sizes={','.join(FLAGS.feature_sizes)}",
            f"num_classes={FLAGS.num_classes}",
        ],
    )
    summary = check(FLAGS.data_pattern, config)
    if FLAGS.output_file:
        files.write_json(FLAGS.output_file, summary)
    lists = {"problems": summary["problems"], "duplicates": summary.get("duplicates", [])}
    print(terminal.format_table([{"what": what, "value": value} for what, value in _flat(summary)]))
    for name, sentences in lists.items():
        for sentence in sentences[:_SHOWN]:
            print(sentence)
        if len(sentences) > _SHOWN:
            print(
                f"... {len(sentences) - _SHOWN:,} more {name}"
                + (f" in {FLAGS.output_file}." if FLAGS.output_file else "; --output_file lists them.")
            )
    return 1 if summary["bad"] or summary.get("duplicate_ids") else 0


def _flat(summary):
    for key, value in summary.items():
        if isinstance(value, dict):
            yield from ((f"{key}: {inner}", count) for inner, count in value.items())
        elif not isinstance(value, list):
            yield key, value


def run():
    run_command(main, define_flags)
