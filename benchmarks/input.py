"""From TFRecords to batches: the reader against a straightforward tf.data pipeline, on generated shards.

    python -m benchmarks.input [--quick]

The baseline parses, dequantises and pads each video to float32 on its own, as the original does; ours keeps the bytes,
which the model's first matmul dequantises. Both shuffle the same way, read in parallel and prefetch; ours also checks
every record. Equality of the batches is checked first. Seconds are of a pass after its first batch; what comes before
is `start_s`. The first pass of a reader over a file also looks whether its bytes are whole protocol buffers:
`first_pass_ratio`.
"""

import argparse
import functools
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks import measure
from youtube8m_mod.config import MODELS, SEGMENT_FRAMES
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import run_main

CONFIG = MODELS["nextvlad"]
CLASSES, FRAMES = CONFIG.num_classes, CONFIG.max_frames
SHUFFLED = 32


def write_shards(folder, shards, videos, seed=0):
    """Shards of videos of 120 to 300 frames with five rated segments each, and of as many video-level records."""
    random = np.random.default_rng(seed)
    for shard in range(shards):
        frame_level, video_level = [], []
        for video in range(videos):
            count = int(random.integers(120, 301))
            features = {
                name: random.integers(0, 256, (count, size), np.uint8)
                for name, size in zip(CONFIG.feature_names, CONFIG.feature_sizes)
            }
            labels = random.integers(0, CLASSES, 3)
            segments = [
                (5 * int(start), int(random.integers(CLASSES)), float(random.integers(2)))
                for start in random.permutation(count // 5)[:5]
            ]
            video_id = f"{shard:02d}{video:04d}"
            frame_level.append(records.frame_level_record(video_id, labels, features, segments))
            means = {f"mean_{name}": records.dequantize(values).mean(axis=0) for name, values in features.items()}
            video_level.append(records.video_level_record(video_id, labels, **means))
        records.write_shard(f"{folder}/frame{shard}.tfrecord", frame_level)
        records.write_shard(f"{folder}/video{shard}.tfrecord", video_level * 10)


def _multi_hot(labels):
    return tf.reduce_max(tf.one_hot(labels, CLASSES), axis=0) if labels.shape[0] != 0 else tf.zeros([CLASSES])


def _frames(lists):
    features = [tf.cast(tf.io.decode_raw(lists[name], tf.uint8), tf.float32) for name in CONFIG.feature_names]
    frames = tf.concat(features, axis=1)[:FRAMES] * records.DEQUANTIZE_SCALE + records.DEQUANTIZE_OFFSET
    count = tf.shape(frames)[0]
    return tf.pad(frames, [[0, FRAMES - count], [0, 0]]), count


_LISTS = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in CONFIG.feature_names}
_CONTEXT = {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}


def parse_video(serialized):
    context, lists = tf.io.parse_single_sequence_example(serialized, _CONTEXT, _LISTS)
    frames, count = _frames(lists)
    return {
        "ids": context["id"],
        "features": frames,
        "num_frames": count,
        "labels": _multi_hot(context["labels"].values),
    }


def parse_segments(serialized):
    keys = {key: tf.io.VarLenFeature(tf.int64) for key in ("segment_start_times", "segment_labels")}
    context, lists = tf.io.parse_single_sequence_example(
        serialized, _CONTEXT | keys | {"segment_scores": tf.io.VarLenFeature(tf.float32)}, _LISTS
    )
    frames, _ = _frames(lists)
    starts, segment = tf.unique(context["segment_start_times"].values)
    index = tf.stack([tf.cast(segment, tf.int64), context["segment_labels"].values], axis=1)
    shape = [tf.size(starts, tf.int64), CLASSES]
    return {
        "ids": tf.fill(tf.shape(starts), context["id"]),
        "features": tf.gather(frames, starts[:, tf.newaxis] + tf.range(SEGMENT_FRAMES, dtype=tf.int64)),
        "labels": tf.scatter_nd(index, context["segment_scores"].values, shape),
        "label_weights": tf.scatter_nd(index, tf.ones_like(context["segment_scores"].values), shape),
    }


def parse_video_level(serialized):
    keys = {
        f"mean_{name}": tf.io.FixedLenFeature([size], tf.float32)
        for name, size in zip(CONFIG.feature_names, CONFIG.feature_sizes)
    }
    example = tf.io.parse_single_example(serialized, _CONTEXT | keys)
    return {
        "ids": example["id"],
        "features": tf.concat([example[key] for key in keys], axis=0)[tf.newaxis],
        "num_frames": tf.constant(1),
        "labels": _multi_hot(example["labels"].values),
    }


def baseline(paths, parse, batch_size, seed):
    """The straightforward pipeline; a dataset of batches."""
    data = tf.data.Dataset.from_tensor_slices(paths)
    if seed is None:
        data = tf.data.TFRecordDataset(paths)
    else:
        data = data.shuffle(len(paths), seed).interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE)
    if parse is parse_segments:
        data = data.map(parse, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
        data = data if seed is None else data.shuffle(SHUFFLED, seed)
    else:
        data = data if seed is None else data.shuffle(SHUFFLED, seed)
        data = data.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(2)


def check_equal(reader, parse, batch_size):
    """Stops where the two do not give the same numbers."""
    for ours, theirs in zip(reader.read(batch_size), baseline(reader.paths, parse, batch_size, None), strict=True):
        for key, expected in theirs.items():
            actual = ours[key].numpy()
            if key == "features" and actual.dtype == np.uint8:
                exists = np.arange(actual.shape[1]) < ours["present_frames"].numpy()[:, np.newaxis]
                actual = np.where(exists[:, :, np.newaxis], records.dequantize(actual), np.float32(0))
            np.testing.assert_array_equal(actual, expected.numpy())


def time_pass(batches):
    """(seconds to the first batch, seconds from there, examples after it)"""
    started = time.perf_counter()
    iterator = iter(batches())
    next(iterator)
    first = time.perf_counter()
    examples = sum(len(batch["ids"]) for batch in iterator)
    return first - started, time.perf_counter() - first, examples


def time_interleaved(variants, repeats):
    """Medians of `time_pass` of each of {name: function that gives batches}, run in turn after one round of warm-up."""
    rounds = [{name: time_pass(batches) for name, batches in variants.items()} for _ in range(repeats + 1)][1:]
    return {name: np.median([times[name] for times in rounds], axis=0) for name in variants}


def main(argv):
    parser = argparse.ArgumentParser(description="The reader against a straightforward pipeline.")
    parser.add_argument("--quick", action="store_true", help="less data, fewer repeats")
    quick = parser.parse_args(argv).quick
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_shards(folder, shards=4, videos=100 if quick else 400)
        for case, pattern, parse, batch_size in [
            ("videos of 120 to 300 frames", "frame", parse_video, 32),
            ("rated segments", "frame", parse_segments, 128),
            ("video-level records", "video", parse_video_level, 256),
        ]:
            new_reader = functools.partial(
                Reader, f"{folder}/{pattern}*.tfrecord", CONFIG, segments=parse is parse_segments
            )
            reader, options = new_reader(), {"seed": 1, "shuffle_buffer": SHUFFLED}
            check_equal(reader, parse, batch_size)
            times = time_interleaved(
                {
                    "baseline": lambda: baseline(reader.paths, parse, batch_size, 1),
                    "ours": lambda: reader.read(batch_size, **options),
                    "first pass": lambda: new_reader().read(batch_size, **options),
                },
                repeats=3 if quick else 7,
            )
            (start, ours, examples), before = times["ours"], times["baseline"][1]
            size = sum(tf.io.gfile.stat(path).length for path in reader.paths) / 1e6
            rows.append(
                {
                    "case": case,
                    "baseline_s": before,
                    "ours_s": ours,
                    "ratio": before / ours,
                    "first_pass_ratio": before / times["first pass"][1],
                    "start_s": start,
                    "examples_per_s": examples / ours,
                    "read_mb_per_s": size / ours,
                }
            )
    measure.show(rows)


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
