"""Writes a miniature YouTube-8M: the dataset's form, at a size for demos and tests (docs/miniature.md).

    python -m youtube8m_mod.miniature --output_dir=<dir> [--bank='<glob of video-level TFRecords>'] [--seed=0] ...

`<dir>` gets `train-*.tfrecord` (noisy video labels), `validate-*.tfrecord` and `test-*.tfrecord` (video labels and
rated segments), `miniature.json` (settings, counts, rated classes), `truth.json` (the true scenes of the test videos),
and with synthetic scenes `label_names.txt` (one name a line). The same settings give the same bytes.
"""

import dataclasses
import os
import sys
from typing import Any

from youtube8m_mod import files, overrides, terminal
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature.bank import PARTITIONS, RecordBank, SyntheticBank
from youtube8m_mod.miniature.composition import Composer, Settings

SUMMARY, TRUTH, LABEL_NAMES = "miniature.json", "truth.json", "label_names.txt"
SYNTHETIC_CLASSES, REAL_CLASSES = 300, 3862


def write_miniature(output_dir: str, settings: Settings, bank_pattern: str | None = None) -> dict[str, Any]:
    """Writes the miniature dataset; returns what `miniature.json` holds.

    Args:
        output_dir: a new or empty folder, or one that the same call wrote (to the end or not).
        settings: a `Settings`.
        bank_pattern: glob of video-level TFRecords whose means and labels become the scenes; None: synthetic scenes.

    Raises:
        UserError: `output_dir` holds anything else, or the bank cannot be used.
    """
    if settings.num_classes is None:
        settings = dataclasses.replace(settings, num_classes=REAL_CLASSES if bank_pattern else SYNTHETIC_CLASSES)
    shards = {partition: _shard_names(partition, settings) for partition in PARTITIONS}
    _claim(output_dir, settings, bank_pattern, [name for names in shards.values() for name in names])
    bank = _bank(settings, bank_pattern)
    composer = Composer(settings, bank)
    counts = {
        partition: dict.fromkeys(("videos", "frames", "scenes", "rated_videos", "ratings", "positives"), 0)
        for partition in PARTITIONS
    }
    rated_classes = {partition: set() for partition in PARTITIONS[1:]}
    truth = {}

    def serialized(partition, indices, bar):
        for index in indices:
            video = composer.video(partition, index)
            _count(counts[partition], video)
            if video.segments:
                rated_classes[partition].update(label for _, label, _ in video.segments)
            if partition == "test":
                truth[video.id] = _timeline(video)
            bar.update()
            yield records.frame_level_record(video.id, video.labels, video.features, video.segments)

    with terminal.progress(
        total=sum(map(settings.num_videos, PARTITIONS)), unit="video", description="miniature"
    ) as bar:
        for partition in PARTITIONS:
            for shard, name in enumerate(shards[partition]):
                start = shard * settings.videos_per_shard
                end = min(start + settings.videos_per_shard, settings.num_videos(partition))
                records.write_shard(os.path.join(output_dir, name), serialized(partition, range(start, end), bar))
    files.write_json(os.path.join(output_dir, TRUTH), {"videos": truth})
    if names := bank.label_names():
        with files.write_file(os.path.join(output_dir, LABEL_NAMES)) as file:
            file.writelines(f"{name}\n" for name in names)
    summary = {
        "settings": overrides.to_dict(settings),
        "bank": bank_pattern,
        "num_classes": settings.num_classes,
        "counts": counts,
        "rated_classes": {partition: sorted(classes) for partition, classes in rated_classes.items()},
    }
    files.write_json(os.path.join(output_dir, SUMMARY), summary)
    return summary


def _bank(settings, pattern):
    if pattern is None:
        return SyntheticBank(settings.num_classes, settings.feature_sizes, settings.seed)
    scenes = {partition: settings.num_videos(partition) * settings.max_scenes for partition in PARTITIONS}
    return RecordBank(pattern, settings, scenes)


def _shard_names(partition, settings):
    count = -(-settings.num_videos(partition) // settings.videos_per_shard)
    return [f"{partition}-{shard:05d}-of-{count:05d}.tfrecord" for shard in range(count)]


def _claim(output_dir, settings, bank_pattern, shards):
    """Refuses a folder with anything that this call would not write itself, and says what will be overwritten."""
    import tensorflow as tf

    if files.exists(output_dir) and not files.is_dir(output_dir):
        raise UserError(f"--output_dir {output_dir} is a file; a folder was expected.")
    files.make_dirs(output_dir)
    found = sorted(name.rstrip("/") for name in tf.io.gfile.listdir(output_dir))
    if SUMMARY in found:
        path = os.path.join(output_dir, SUMMARY)
        old = files.read_json(path)
        if not isinstance(old, dict) or not {"settings", "bank"} <= set(old):
            raise UserError(f"{path} is not the summary of a miniature; choose another --output_dir.")
        changed = overrides.differences(overrides.from_dict(Settings, old["settings"], path), settings)
        if old["bank"] != bank_pattern:
            changed["bank"] = old["bank"], bank_pattern
        if changed:
            changes = ", ".join(f"{field} {before} -> {after}" for field, (before, after) in changed.items())
            raise UserError(
                f"--output_dir {output_dir} holds a miniature with other settings ({changes}); "
                "remove it or choose another folder."
            )
    ours = {*shards, SUMMARY, TRUTH, LABEL_NAMES}
    if foreign := [name for name in found if name.split(".partial-")[0] not in ours]:
        raise UserError(
            f"--output_dir {output_dir} must be empty, or hold a miniature of the same settings, but holds "
            f"{foreign[0]}{f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''}."
        )
    for name in found:
        if name not in ours:
            tf.io.gfile.remove(os.path.join(output_dir, name))  # The half of a file that a killed run left.
    if found:
        state = "" if SUMMARY in found else " unfinished"
        print(f"Overwriting the{state} miniature in {output_dir} ({len(found)} files).", file=sys.stderr)
    if SUMMARY in found:
        # Gone first and written last, it says that all the rest belongs together.
        tf.io.gfile.remove(os.path.join(output_dir, SUMMARY))


def _count(counts, video):
    counts["videos"] += 1
    counts["frames"] += video.num_frames
    counts["scenes"] += len(video.spans)
    if video.segments:
        counts["rated_videos"] += 1
        counts["ratings"] += len(video.segments)
        counts["positives"] += sum(score for _, _, score in video.segments)


def _timeline(video):
    scenes = [
        {"start": start, "end": end, "labels": list(scene.labels), "source": scene.source}
        for start, end, scene in video.spans
    ]
    return {"num_frames": video.num_frames, "labels": list(video.labels), "scenes": scenes}
