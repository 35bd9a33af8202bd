"""Localises concepts in videos: candidates, segment scores, value model, ranked lists (section 3.1).

    python inference.py --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --output_file=submission.csv --video_predictions_file=videos.csv

Stopped, it continues with the same command. Over several processes or machines: the same command with
--num_shards=4 --shard_index=0 ... 3, then once with --merge.
"""

from absl import flags

from youtube8m_mod.commands.command import run_command
from youtube8m_mod.errors import UserError

FLAGS = flags.FLAGS
_OPTIONS = (
    "train_dir",
    "input_data_pattern",
    "output_file",
    "video_predictions_file",
    "segment_predictions_file",
    "video_train_dir",
    "segment_label_ids_file",
    "top_k",
    "segment_max_pred",
    "video_exponent",
    "segment_exponent",
    "candidates",
    "fill",
    "fill_empty",
    "node",
    "precision",
    "batch_size",
    "segment_batch_size",
    "skip_bad_records",
)


def define_flags():
    flags.DEFINE_string("train_dir", None, "The segment model: train_dir of finetune.py.")
    flags.DEFINE_string(
        "video_train_dir",
        None,
        "The video-level model (default: the one that finetuning started "
        "from, else the segment model on whole videos).",
    )
    flags.DEFINE_string("input_data_pattern", None, "Glob of the videos' TFRecords (comma-separated: several).")
    flags.DEFINE_string("output_file", None, "The submission (Class,Segments).")
    flags.DEFINE_string("video_predictions_file", None, "Predictions of videos (VideoId,LabelConfidencePairs).")
    flags.DEFINE_string("segment_predictions_file", None, "Predictions of all segments, in the same form.")
    flags.DEFINE_string(
        "segment_label_ids_file",
        None,
        "The segment classes, one a line (default: those rated in finetuning, else all).",
    )
    flags.DEFINE_integer("top_k", 20, "Candidates of a video; classes in a line of predictions.")
    flags.DEFINE_integer("segment_max_pred", 100_000, "Segments in a class's list.")
    flags.DEFINE_float("video_exponent", 0.05, "Exponent of the video's probability in Eq. 1.")
    flags.DEFINE_float("segment_exponent", 0.95, "Exponent of the segment's probability in Eq. 1.")
    flags.DEFINE_bool(
        "candidates",
        True,
        "Rank segments in their video's candidates by Eq. 1; --nocandidates ranks "
        "them in their own top_k classes by their probability, as the original's inference script.",
    )
    flags.DEFINE_bool("fill", True, "Fill lists up to the cap with segments of the video-level ranking.")
    flags.DEFINE_bool("fill_empty", False, "Fill also lists of classes that are no video's candidate.")
    flags.DEFINE_string(
        "node",
        "",
        "Part of the segment model that scores: empty is the root, 1/2 the third leaf of the second mixture.",
    )
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the large matmuls.")
    flags.DEFINE_integer("batch_size", 16, "Videos in a batch.")
    flags.DEFINE_integer("segment_batch_size", 512, "Segments in a batch.")
    flags.DEFINE_bool("skip_bad_records", False, "Count and skip bad records in place of stopping.")
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

    inference = Inference(**{name: getattr(FLAGS, name) for name in _OPTIONS}, placement=make_placement(FLAGS.devices))
    report_counts(inference.run(FLAGS.num_shards, FLAGS.shard_index))


def merge():
    from youtube8m_mod.inference.localizer import Outputs, write_outputs
    from youtube8m_mod.inference.pieces import Parts

    outputs = Outputs(FLAGS.output_file, FLAGS.video_predictions_file, FLAGS.segment_predictions_file)
    write_outputs(Parts(outputs.parts_folder), outputs)


def run():
    run_command(main, define_flags)
