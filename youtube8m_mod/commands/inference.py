r"""Localises concepts in videos: candidates, segment scores, value model, ranked lists (section 3.1).

    python inference.py --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --output_file=submission.csv --video_predictions_file=videos.csv

Stopped, it continues with the same command. --ray_address=auto spreads the files over a Ray cluster.
"""

from absl import flags

from youtube8m_mod.commands.command import (
    check_companions,
    check_output_flags,
    define_settings,
    run_command,
    settings,
)
from youtube8m_mod.commands.dataset_flags import dataset, define_dataset_flags, reader_settings
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.options import InferenceOptions

FLAGS = flags.FLAGS
_OF_SEGMENTS = ("output_file", "segment_predictions_file", "timeline_file")
_COMPANIONS = {
    ("timeline_file",): ("timeline_threshold", "label_names"),
    ("segment_predictions_file",): ("segment_candidates",),
    ("output_file",): ("segment_max_pred", "fill", "fill_empty"),
    ("output_file", "timeline_file"): ("video_exponent", "segment_exponent"),
    ("embeddings_file",): ("embeddings_of", "embeddings_join"),
    _OF_SEGMENTS: ("segment_label_ids_file",),
    (*_OF_SEGMENTS, "embeddings_file"): ("segment_batch_size",),
    ("candidates",): ("video_exponent", "segment_exponent"),
    ("candidates", "video_predictions_file", "context", "embeddings_file"): ("video_train_dir", "video_checkpoint"),
}


def define_flags() -> None:
    define_settings(InferenceOptions)
    define_dataset_flags()
    flags.DEFINE_list("devices", None, "Devices of the subtrees (default: all GPUs, without any the CPU).")
    flags.DEFINE_string(
        "ray_address",
        None,
        "Spread the files over a Ray cluster: auto (this machine's), local (a new one), or host:port of a head.",
    )
    flags.DEFINE_float("worker_timeout", 60, "Seconds without an answer after which a node of Ray is lost.")


def main(_: list[str]) -> None:
    if given := dataset(input_data_pattern="test"):
        FLAGS.set_default("segment_label_ids_file", given.path(given.segment_classes))
        if FLAGS.timeline_file:
            FLAGS.set_default("label_names", given.path(given.label_names))
    for name in ("train_dir", "input_data_pattern"):
        if not getattr(FLAGS, name):
            raise UserError(f"--{name} must be given.")
    if FLAGS.ray_address and FLAGS.devices:
        raise UserError("--devices are those of one process: they do not go with --ray_address.")
    if FLAGS["worker_timeout"].present and not FLAGS.ray_address:
        raise UserError("--worker_timeout belongs to --ray_address, which is not given.")
    check_companions(_COMPANIONS)
    check_output_flags(
        ("output_file", "video_predictions_file", "segment_predictions_file", "embeddings_file"), ("dataset",)
    )
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.inference.run import Inference, report_counts
    from youtube8m_mod.processor import check_precision

    check_precision(FLAGS.precision)
    pool = None
    if FLAGS.ray_address:
        from youtube8m_mod.inference.ray_pool import RayPool

        inference = Inference(**settings(InferenceOptions), reader=reader_settings())
        pool = RayPool(FLAGS.ray_address, inference, FLAGS.worker_timeout)
    else:
        inference = Inference(
            **settings(InferenceOptions), placement=make_placement(FLAGS.devices), reader=reader_settings()
        )
    report_counts(inference.run(pool))


def run() -> None:
    run_command(main, define_flags)
