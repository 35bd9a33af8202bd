"""What is in shards, and what is wrong with them: `check`, and the command `python -m youtube8m_mod.data.check`."""

import dataclasses
import functools
import time
from typing import Any

import numpy as np

from youtube8m_mod import terminal
from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.data import records, shards

_BATCH = 64
_OPEN_FILES = 16
_KEPT = 1000  # Problems and duplicates that are listed.


def check(pattern: str, config: ModelConfig, settings: records.ReaderSettings | None = None) -> dict[str, Any]:
    """Reads everything that matches `pattern`.

    Args:
        config: what gives `feature_names`, `feature_sizes` and `num_classes`: a `ModelConfig`.
        settings: `records.ReaderSettings`, for records that are not the dataset's own.

    Returns:
        A dict that is fit for JSON: counts and ranges of what was found, statistics of `features`, `bad` records by
        reason, `problems` in words, `warnings`, and `duplicates`.

    Raises:
        UserError: where files cannot be opened, or the first records do not show what they are.
    """
    from youtube8m_mod.data import feature_statistics, stream
    from youtube8m_mod.data.pass_monitor import PassMonitor
    from youtube8m_mod.data.reader import Reader

    started = time.perf_counter()
    reader = Reader(pattern, config, skip_bad_records=True, settings=settings)
    if reader.spec.kind != records.VIDEO_LEVEL:
        reader = Reader(pattern, config, skip_bad_records=True, segments=True, settings=settings)
    spec = dataclasses.replace(reader.spec, clip=False)  # Floats as they are stored.
    monitor = PassMonitor(spec, skip_bad=True, max_bad_share=1, kept=_KEPT)
    data = stream.only_good(stream.numbered(reader.paths, monitor, _OPEN_FILES), spec, monitor).batch(_BATCH)
    data = _measured(spec.in_graph())(data, monitor).prefetch(2)
    features = [np.zeros((size + 1, 5)) for size in spec.sizes]
    found, classes, rated = [], np.zeros(spec.num_classes, np.int64), np.zeros(spec.num_classes, np.int64)
    file_numbers = {path.encode(): i for i, path in enumerate(reader.paths)}
    with terminal.progress(unit=" records") as progress:
        for batch in data.as_numpy_iterator():
            classes += batch.pop("class_counts")
            rated += batch.pop("rated_counts")
            features = [total + part for total, part in zip(features, batch.pop("features"))]
            batch["file"] = np.array([file_numbers[path] for path in batch.pop("path")])
            found.append(batch)
            progress.update(len(batch["file"]))
    if monitor.error:
        raise monitor.error
    columns = {key: np.concatenate([batch[key] for batch in found]) for key in found[0]} if found else {}
    statistics = feature_statistics.summarize(features, spec) if found else {}
    warnings = feature_statistics.warnings(statistics, spec, config.clip_features)
    if columns and not columns["labels"].any() and not rated.any():
        warnings.append(f'No video has a label under "{spec.labels_key}": the records hold {spec.found}.')
    summary = _summary(reader.paths, spec.kind, monitor.counts, columns, classes, rated)
    if count := summary.get("ratings_off_the_grid"):
        warnings.append(
            f"{count:,} ratings start off the multiples of {SEGMENT_FRAMES} s: training reads them, but the segments "
            "that inference lists are others, so that they count as not found."
        )
    seconds = time.perf_counter() - started
    return summary | {
        "features": statistics,
        "warnings": warnings,
        "seconds": seconds,
        "mb_per_s": summary["bytes"] / 1e6 / seconds,
    }


@functools.lru_cache(maxsize=16)
def _measured(spec):
    """A stage from batches of such records to their `_measures`."""
    import tensorflow as tf

    from youtube8m_mod.data import stream

    @stream.stage(*stream.RECORDS)
    def measured(data, monitor):
        return data.map(functools.partial(_measures, spec=spec), num_parallel_calls=tf.data.AUTOTUNE)

    return measured


def _measures(paths, indices, serialized, spec):
    """Numbers of each good record, and counts of classes over all of them."""
    import tensorflow as tf

    from youtube8m_mod.data import feature_statistics, parsing

    parsed = parsing.fields(serialized, spec)
    frames = parsed["splits"][1:] - parsed["splits"][:-1]
    empty = tf.zeros([0], tf.int64)
    measures = {
        "path": paths,
        "index": indices,
        "frames": frames,
        "labels": parsed["labels"].row_lengths(),
        "id_hash": tf.strings.to_hash_bucket_fast(parsed["id"], 2**63 - 1),
        "class_counts": _bincount(parsed["labels"].values, spec),
        "rated_counts": _bincount(empty, spec),
        "features": feature_statistics.measure(parsed["features"], spec),
    }
    if spec.segments:
        starts = parsed["starts"]
        past_end = starts + SEGMENT_FRAMES > frames[:, tf.newaxis]
        measures |= {
            "ratings": starts.row_lengths(),
            "rated_counts": _bincount(parsed["classes"], spec),
            "right": tf.reduce_sum(starts.with_values(tf.cast(parsed["scores"], tf.int64)), axis=1),
            "past_end": tf.reduce_sum(tf.cast(past_end, tf.int64), axis=1),
            "off_grid": tf.reduce_sum(tf.cast(starts % SEGMENT_FRAMES != 0, tf.int64), axis=1),
            "unread": parsed["unread"],
        }
    return measures


def _bincount(values, spec):
    import tensorflow as tf

    return tf.math.unsorted_segment_sum(tf.ones_like(values), values, spec.num_classes)


def _summary(paths, kind, counts, columns, classes, rated):
    size = sum(shards.size(path) for path in paths)
    summary = {
        "kind": kind,
        "files": len(paths),
        "bytes": size,
        "records": counts.records,
        "bad": dict(counts.bad.most_common()),
        "lost_behind_damage": counts.lost,  # About.
        "problems": [sentence for _, _, sentence in counts.problems],
    }
    if columns:
        frames, labels = columns["frames"], columns["labels"]
        summary |= {
            "frames": {"min": int(frames.min()), "mean": float(frames.mean()), "max": int(frames.max())},
            "labels_per_video": float(labels.mean()),
            "videos_without_label": int((labels == 0).sum()),
            "videos_longer_than_300_s": int((frames > records.MAX_FRAMES).sum()),
            "seconds_past_300": int(np.maximum(frames - records.MAX_FRAMES, 0).sum()),
            "classes": int((classes > 0).sum()),
        }
        if "ratings" in columns:
            ratings = int(columns["ratings"].sum())
            summary |= {
                "rated_videos": int((columns["ratings"] > 0).sum()),
                "ratings": ratings,
                "right_ratings": int(columns["right"].sum()),
                "ratings_past_end": int(columns["past_end"].sum()),
                "ratings_past_300_s": int(columns["unread"].sum()),
                "ratings_off_the_grid": int(columns["off_grid"].sum()),
                "rated_classes": int((rated > 0).sum()),
            }
        again, earlier = _duplicates(columns)
        file, index = columns["file"], columns["index"]
        summary |= {
            "duplicate_ids": len(again),
            "duplicates": [
                f"{paths[file[i]]}, record {index[i]} has the id of {paths[file[j]]}, record {index[j]}."
                for i, j in zip(again[:_KEPT], earlier[:_KEPT])
            ],
        }
    return summary


def _duplicates(columns):
    """(rows, the row before each that has the same id), ids being compared by a hash of 63 bits."""
    order = np.lexsort((columns["index"], columns["file"], columns["id_hash"]))
    hashes = columns["id_hash"][order]
    again = np.flatnonzero(hashes[1:] == hashes[:-1])
    return order[again + 1], order[again]


if __name__ == "__main__":
    from youtube8m_mod.commands.check import run

    run()
