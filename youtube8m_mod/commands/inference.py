r"""Localises concepts in videos: candidates, segment scores, value model, ranked lists (section 3.1).

    python inference.py --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --output_file=submission.csv --video_predictions_file=videos.csv

Stopped, it continues with the same command.
"""

from absl import flags

from youtube8m_mod.commands.command import define_settings, run_command, settings
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.options import InferenceOptions

FLAGS = flags.FLAGS


def define_flags():
    define_settings(InferenceOptions)
    flags.DEFINE_list("devices", None, "Devices that subtrees are dealt to (default: all GPUs, without any the CPU).")


def main(_):
    for name in ("train_dir", "input_data_pattern"):
        if not getattr(FLAGS, name):
            raise UserError(f"--{name} must be given.")
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.inference.run import Inference, report_counts
    from youtube8m_mod.processor import warn_of_slow_precision

    warn_of_slow_precision(FLAGS.precision)
    inference = Inference(**settings(InferenceOptions), placement=make_placement(FLAGS.devices))
    report_counts(inference.run())


def run():
    run_command(main, define_flags)
