"""Writes a page on which a person looks at localised videos: one HTML file, that a browser opens without a network.

    python -m youtube8m_mod.explore --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --label_names=label_names.txt --output=page.html

or from files that inference.py wrote, without a model:

    python -m youtube8m_mod.explore --segment_predictions_file=segments.csv --video_predictions_file=videos.csv \
        --submission_file=submission.csv --output=page.html
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags

from youtube8m_mod.commands.command import check_companions, check_output_flags, define_settings, run_command, settings
from youtube8m_mod.commands.dataset_flags import dataset, define_dataset_flags, reader_settings, record_keys
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.options import InferenceOptions
from youtube8m_mod.localization.ranked_lists import LocalizationConfig

if TYPE_CHECKING:
    from youtube8m_mod.explore.contents import Contents, Truth

FLAGS = flags.FLAGS
_OUTPUTS = ("segment_predictions_file", "video_predictions_file", "submission_file")
_SHOWN = ("video_ids", "max_videos", "best", "title", "video_exponent", "segment_exponent")
# Of inference's options, what says which files are written and how long the lists of a submission are.
_WITHOUT = (
    "output_file",
    "video_predictions_file",
    "segment_predictions_file",
    "timeline_file",
    "timeline_threshold",
    "embeddings_file",
    "embeddings_of",
    "embeddings_join",
    "label_names",
    "segment_candidates",
    "segment_max_pred",
    "fill",
    "fill_empty",
)

# What only models are asked for, not files that they wrote.
_OF_MODELS = (
    *("video_train_dir", "checkpoint", "video_checkpoint", "node", "precision", "devices", "segment_label_ids_file"),
    *("batch_size", "segment_batch_size", "group_megabytes", "skip_bad_records", "candidates", "missing_features"),
    *("model_weights", "video_model_weights", "segment_shifts", "context", "context_reach"),
)


def define_flags() -> None:
    flags.DEFINE_string("output", None, "The page, an .html file.", required=True)
    define_settings(InferenceOptions, without=_WITHOUT)
    flags.DEFINE_string("title", "Localised videos", "Heading of the page.")
    flags.DEFINE_list("devices", None, "Devices of the subtrees (default: all GPUs, without any the CPU).")
    flags.DEFINE_string("segment_predictions_file", None, "Of inference.py: segments and their classes.")
    flags.DEFINE_string("video_predictions_file", None, "Of inference.py: values become those of Eq. 1 with it.")
    flags.DEFINE_string("submission_file", None, "Of inference.py: the best segments of a class are its list.")
    flags.DEFINE_string("eval_data_pattern", None, "Glob of TFRecords with the truth (default: --input_data_pattern).")
    flags.DEFINE_string("label_cache", None, "File of rated segments (id,class,score): the truth, too.")
    flags.DEFINE_string("truth_file", None, "Scenes of the miniature's test videos (truth.json): the truth, too.")
    flags.DEFINE_string("label_names", None, "Names of the classes: the dataset's vocabulary.csv, or one a line.")
    define_dataset_flags()
    flags.DEFINE_list("video_ids", None, "The videos to show (default: the first --max_videos).")
    flags.DEFINE_integer("max_videos", 1_000, "Videos of a page.", lower_bound=1)
    flags.DEFINE_integer("best", 100, "Segments in the list of a class.", lower_bound=1)


def main(_: list[str]) -> None:
    if described := dataset(input_data_pattern="test"):
        FLAGS.set_default("label_names", described.path(described.label_names))
        FLAGS.set_default("segment_label_ids_file", described.path(described.segment_classes))
    given = [name for name in _OUTPUTS if getattr(FLAGS, name)]
    if FLAGS.train_dir and given:
        raise UserError(f"--train_dir localises videos, --{given[0]} shows what was localised: give one of the two.")
    if not (FLAGS.train_dir or given):
        raise UserError(
            "--train_dir with --input_data_pattern, or files of inference.py (--segment_predictions_file, "
            "--video_predictions_file, --submission_file), must name what is to be shown."
        )
    if FLAGS.train_dir and not FLAGS.input_data_pattern:
        raise UserError("--input_data_pattern must name the videos that --train_dir is to localise.")
    check_companions({("train_dir",): _OF_MODELS})
    check_output_flags(
        ("output",),
        (*_OUTPUTS, "label_names", "label_cache", "truth_file", "segment_label_ids_file", "dataset"),
        ("input_data_pattern", "eval_data_pattern"),
        ("train_dir", "video_train_dir") if FLAGS.train_dir else (),
    )
    LocalizationConfig(video_exponent=FLAGS.video_exponent, segment_exponent=FLAGS.segment_exponent)  # Checks them.
    from youtube8m_mod.explore import page, truth
    from youtube8m_mod.explore.outputs import read_outputs
    from youtube8m_mod.formats.label_names import read_label_names

    page.drawing_library()  # Where it is missing, that is said before the work.
    num_classes = described and described.num_classes
    if FLAGS.train_dir:
        from youtube8m_mod.inference.members import segment_members

        members = segment_members(FLAGS.train_dir, FLAGS.checkpoint, FLAGS.node, FLAGS.model_weights)
        num_classes = members[0].run.model.num_classes
    names = read_label_names(FLAGS.label_names, num_classes) if FLAGS.label_names else {}
    truths = read_truth(truth)
    options = {name: getattr(FLAGS, name) for name in _SHOWN}
    if FLAGS.train_dir:
        contents = localise(options)
    else:
        contents = read_outputs(*(getattr(FLAGS, name) for name in _OUTPUTS), **options)
    contents.names = names
    truth.attach(contents, truths)
    size = page.write_page(FLAGS.output, contents, FLAGS.top_k)
    for note in contents.notes:
        print(note)
    print(f"{FLAGS.output}: {len(contents.videos):,} videos, {size / 1e6:.1f} MB; open it in a browser.")


def read_truth(truth: ModuleType) -> "dict[str, Truth]":
    """{video id: `Truth`} of all that the flags name."""
    truths = {}
    if pattern := FLAGS.eval_data_pattern or FLAGS.input_data_pattern:
        truth.add_records(truths, pattern, record_keys())
    if FLAGS.label_cache:
        from youtube8m_mod.evaluation.rated_labels import read_cache

        truth.add_ratings(truths, read_cache(FLAGS.label_cache))
    if FLAGS.truth_file:
        truth.add_scenes(truths, FLAGS.truth_file)
    return truths


def localise(options: dict[str, Any]) -> "Contents":
    """The contents of a page of the videos that the models localise."""
    from youtube8m_mod import files
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.explore.outputs import read_outputs
    from youtube8m_mod.inference.run import Inference, report_counts

    folder = f"{FLAGS.output}.predictions"
    segments, videos = f"{folder}/segments.csv", f"{folder}/videos.csv"
    inference = Inference(
        segment_predictions_file=segments,
        video_predictions_file=videos if FLAGS.candidates else None,
        segment_candidates=FLAGS.candidates,  # So that a strip has a value everywhere.
        placement=make_placement(FLAGS.devices),
        reader=reader_settings(),
        **settings(InferenceOptions, without=_WITHOUT),
    )
    report_counts(inference.run())
    contents = read_outputs(segments, inference.video_predictions_file, **options)
    files.remove_tree(folder)
    return contents


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
