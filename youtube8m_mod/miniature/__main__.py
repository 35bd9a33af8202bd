"""Writes a miniature YouTube-8M: the dataset's form, at a size for demos and tests (docs/miniature.md).

python -m youtube8m_mod.miniature --output_dir=<dir> [--bank='<glob of video-level TFRecords>'] [--seed=0] ...
"""

import dataclasses
import time

from absl import flags

from youtube8m_mod import overrides, terminal
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import REAL_CLASSES, SYNTHETIC_CLASSES, write_miniature

FLAGS = flags.FLAGS
_HELP = {
    "seed": "another seed gives another dataset",
    "train_videos": "videos with video labels only",
    "validate_videos": "videos for finetuning",
    "test_videos": "videos for scoring",
    "min_frames": "shortest video, frames (one a second)",
    "max_frames": "longest video, at most 300",
    "min_scenes": "fewest scenes of a video",
    "max_scenes": "most scenes of a video",
    "feature_names": "comma-separated; the first is like rgb, the others like audio",
    "feature_sizes": "comma-separated",
    "num_classes": f"vocabulary (default {SYNTHETIC_CLASSES}, with --bank {REAL_CLASSES})",
    "num_segment_classes": "the commonest so many classes are rated",
    "rated_share": "share of the validate and test videos with rated segments",
    "ratings_per_video": "ratings of such a video",
    "positive_share": "chance that a rating goes where the class is right, if there is such a place",
    "missed_rate": "chance that a video lacks one of its labels",
    "spurious_rate": "wrong labels added to a video, on average",
    "videos_per_shard": "videos of one file",
}


def define_flags():
    flags.DEFINE_string("output_dir", None, "New or empty folder.", required=True)
    flags.DEFINE_string("bank", None, "Glob of video-level TFRecords: their means and labels become the scenes.")
    for field in dataclasses.fields(Settings):
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        flags.DEFINE_string(field.name, None, _HELP[field.name] + ("" if default is None else f" (default {default})"))


def main(_):
    texts = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Settings)}
    settings = overrides.override(Settings(), {name: text for name, text in texts.items() if text is not None})
    start = time.perf_counter()
    summary = write_miniature(FLAGS.output_dir, settings, FLAGS.bank)
    print(terminal.format_table([{"partition": partition} | counts for partition, counts in summary["counts"].items()]))
    print(
        f"{FLAGS.output_dir}: {summary['num_classes']} classes, {FLAGS.bank or 'synthetic scenes'}, "
        f"seed {settings.seed}, {time.perf_counter() - start:.1f} s"
    )


def run():
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
