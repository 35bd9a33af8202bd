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
    "seed": "Another seed gives another dataset",
    "train_videos": "Videos with video labels only",
    "validate_videos": "Videos for finetuning",
    "test_videos": "Videos for scoring",
    "min_frames": "Shortest video, frames (one a second)",
    "max_frames": "Longest video, at most 300",
    "min_scenes": "Fewest scenes of a video",
    "max_scenes": "Most scenes of a video",
    "feature_names": "Comma-separated; the first is like rgb, the others like audio",
    "feature_sizes": "Comma-separated",
    "num_classes": f"Size of the vocabulary (default {SYNTHETIC_CLASSES}, with --bank {REAL_CLASSES})",
    "num_segment_classes": "The commonest so many classes are rated",
    "rated_share": "Share of the validate and test videos with rated segments",
    "ratings_per_video": "Ratings of such a video",
    "positive_share": "Chance that a rating goes where the class is right, if there is such a place",
    "real_shares": "Each rated class has such a chance of its own, spread as the real ones, in place of that one",
    "missed_rate": "Chance that a video lacks one of its labels",
    "spurious_rate": "Wrong labels added to a video, on average",
    "videos_per_shard": "Videos of one file",
}


def define_flags() -> None:
    flags.DEFINE_string("output_dir", None, "New or empty folder.", required=True)
    flags.DEFINE_string("bank", None, "Glob of video-level TFRecords: their means and labels become the scenes.")
    for field in dataclasses.fields(Settings):
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        shown = "" if default is None else f" (default {default})"
        flags.DEFINE_string(field.name, None, f"{_HELP[field.name]}{shown}.")


def main(_: list[str]) -> None:
    texts = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Settings)}
    settings = overrides.override(Settings(), {name: text for name, text in texts.items() if text is not None})
    start = time.perf_counter()
    summary = write_miniature(FLAGS.output_dir, settings, FLAGS.bank)
    print(terminal.format_table([{"partition": partition} | counts for partition, counts in summary["counts"].items()]))
    print(
        f"{FLAGS.output_dir}: {summary['num_classes']} classes, {FLAGS.bank or 'synthetic scenes'}, "
        f"seed {settings.seed}, {time.perf_counter() - start:.1f} s"
    )


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
