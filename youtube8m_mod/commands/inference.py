r"""Localises concepts in videos: candidates, segment scores, value model, ranked lists (section 3.1).

    python inference.py --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --output_file=submission.csv --video_predictions_file=videos.csv

Stopped, it continues with the same command. Over several processes or machines: the same command with
--num_shards=4 --shard_index=0 ... 3, then once with --merge.
"""

from absl import flags

from youtube8m_mod.commands.command import define_settings, run_command, settings
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.options import InferenceOptions

FLAGS = flags.FLAGS


def define_flags():
    define_settings(InferenceOptions)
    flags.DEFINE_list("devices", None, "Devices that subtrees are dealt to (default: all GPUs, without any the CPU).")
    flags.DEFINE_integer("num_shards", 1, "Split the input files over so many runs.")
    flags.DEFINE_integer("shard_index", 0, "Which of them this is, from 0.")
    flags.DEFINE_bool("merge", False, "Join what all shards did into the outputs.")


def main(_):
    if FLAGS.merge:
        merge()
        return
    for name in ("train_dir", "input_data_pattern"):
        if not getattr(FLAGS, name):
            raise UserError(f"--{name} must be given.")
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.inference.run import Inference, report_counts

    inference = Inference(**settings(InferenceOptions), placement=make_placement(FLAGS.devices))
    report_counts(inference.run(FLAGS.num_shards, FLAGS.shard_index))


def merge():
    from youtube8m_mod.inference.localizer import Outputs, write_outputs
    from youtube8m_mod.inference.pieces import Parts

    outputs = Outputs(FLAGS.output_file, FLAGS.video_predictions_file, FLAGS.segment_predictions_file)
    write_outputs(Parts(outputs.parts_folder), outputs)


def run():
    run_command(main, define_flags)
