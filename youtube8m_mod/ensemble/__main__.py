"""Joins the outputs of several models: prediction files, or submissions (docs/ensembles.md).

python -m youtube8m_mod.ensemble --inputs=a.csv,b.csv,c.csv --weights=0.3,0.3,0.4 --output_file=joined.csv
"""

import sys

from absl import flags

from youtube8m_mod.commands.command import run_command
from youtube8m_mod.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_list("inputs", None, "Files to join: all predictions or all submissions.", required=True)
    flags.DEFINE_string("output_file", None, "The joined file; without it, only --fit_on is done.")
    flags.DEFINE_enum(
        "method",
        None,
        ["arithmetic", "geometric", "rank"],
        "Weighted arithmetic or geometric mean of the probabilities, or of the ranks (default: geometric for "
        "predictions; submissions hold ranks only).",
    )
    flags.DEFINE_list("weights", None, "One a file, scaled to sum 1 (default: equal, or fitted by --fit_on).")
    flags.DEFINE_string("fit_on", None, "Glob of labelled TFRecords on which the weights are fitted.")
    flags.DEFINE_string("label_cache", None, "File of rated segments, in place of --fit_on or beside it.")
    flags.DEFINE_integer("top_k", 1000, "Classes of a line of joined predictions.", lower_bound=1)
    flags.DEFINE_integer("segment_max_pred", 100_000, "Segments in a class's joined list.", lower_bound=1)
    flags.DEFINE_string(
        "report_file",
        None,
        "JSON of the weights and of what each member brings (default: beside the output, with the ending .json).",
    )


def main(_: list[str]) -> None:
    from youtube8m_mod.ensemble import joining

    joining.join_files(
        [path.strip() for path in FLAGS.inputs],
        FLAGS.output_file,
        method=FLAGS.method,
        weights=None if FLAGS.weights is None else _numbers(FLAGS.weights),
        fit_on=FLAGS.fit_on,
        label_cache=FLAGS.label_cache,
        top_k=FLAGS.top_k,
        segment_max_pred=FLAGS.segment_max_pred,
        report_file=FLAGS.report_file,
        file=sys.stdout,
    )


def _numbers(texts):
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise UserError(f'--weights: expected numbers separated by commas, got "{",".join(texts)}".') from None


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
