"""Reads shards ahead of a run and reports what is in them and what is wrong with them.

    python -m youtube8m_mod.data.check --data_pattern='<glob>' [--output_file=terminal.json]

Checked are the framing and checksums of the files, the form of every record (as the reader would judge it, rated
segments included), the ranges of labels and times, and that no id occurs twice. Exit code 0: all is well; 1: there are
problems.
"""

import argparse
import sys
import time

import numpy as np

from youtube8m_mod import files, terminal
from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.data import records, shards
from youtube8m_mod.errors import run_main
from youtube8m_mod.overrides import override

_BATCH = 64
_OPEN_FILES = 16
_KEPT = 1000  # So many problems and duplicates are listed in the output file, and of these
_SHOWN = 20  # so many on the screen.


def check(pattern, config):
    """Reads everything that matches `pattern`.

    Args:
        config: what gives `feature_names`, `feature_sizes` and `num_classes`: a `ModelConfig`.

    Returns:
        A dict that is fit for JSON: counts and ranges of what was found, `bad` records by reason, `problems` in words,
        and `duplicates`.

    Raises:
        UserError: where files cannot be opened, or the first records do not tell what they are.
    """
    import tensorflow as tf

    from youtube8m_mod.data import stream
    from youtube8m_mod.data.pass_monitor import PassMonitor
    from youtube8m_mod.data.reader import Reader

    started = time.perf_counter()
    reader = Reader(pattern, config, skip_bad_records=True)
    if reader.spec.kind != records.VIDEO_LEVEL:
        reader = Reader(pattern, config, skip_bad_records=True, segments=True)
    spec = reader.spec
    monitor = PassMonitor(spec, skip_bad=True, max_bad_share=1, kept=_KEPT)
    data = stream.only_good(stream.numbered(reader.paths, monitor, _OPEN_FILES), spec, monitor).batch(_BATCH)
    data = data.map(lambda *record: _measures(*record, spec), num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
    found, classes, rated = [], np.zeros(spec.num_classes, np.int64), np.zeros(spec.num_classes, np.int64)
    file_numbers = {path.encode(): i for i, path in enumerate(reader.paths)}
    with terminal.progress(unit=" records") as progress:
        for batch in data.as_numpy_iterator():
            classes += batch.pop("class_counts")
            rated += batch.pop("rated_counts")
            batch["file"] = np.array([file_numbers[path] for path in batch.pop("path")])
            found.append(batch)
            progress.update(len(batch["file"]))
    if monitor.error:
        raise monitor.error
    columns = {key: np.concatenate([batch[key] for batch in found]) for key in found[0]} if found else {}
    return _summary(reader.paths, spec.kind, monitor.counts, columns, classes, rated, time.perf_counter() - started)


def _measures(paths, indices, serialized, spec):
    """Numbers of each good record, and counts of classes over all of them."""
    import tensorflow as tf

    from youtube8m_mod.data import parsing

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
    }
    if spec.segments:
        starts = parsed["starts"]
        past_end = starts + SEGMENT_FRAMES > frames[:, tf.newaxis]
        measures |= {
            "ratings": starts.row_lengths(),
            "rated_counts": _bincount(parsed["classes"], spec),
            "right": tf.reduce_sum(starts.with_values(tf.cast(parsed["scores"], tf.int64)), axis=1),
            "past_end": tf.reduce_sum(tf.cast(past_end, tf.int64), axis=1),
        }
    return measures


def _bincount(values, spec):
    import tensorflow as tf

    return tf.math.unsorted_segment_sum(tf.ones_like(values), values, spec.num_classes)


def _summary(paths, kind, counts, columns, classes, rated, seconds):
    size = sum(shards.size(path) for path in paths)
    summary = {
        "kind": kind,
        "files": len(paths),
        "bytes": size,
        "records": counts.records,
        "bad": dict(counts.bad.most_common()),
        "problems": [sentence for _, _, sentence in counts.problems],
    }
    if columns:
        frames, labels = columns["frames"], columns["labels"]
        summary |= {
            "frames": {"min": int(frames.min()), "mean": float(frames.mean()), "max": int(frames.max())},
            "labels_per_video": float(labels.mean()),
            "videos_without_label": int((labels == 0).sum()),
            "classes": int((classes > 0).sum()),
        }
        if "ratings" in columns:
            ratings = int(columns["ratings"].sum())
            summary |= {
                "rated_videos": int((columns["ratings"] > 0).sum()),
                "ratings": ratings,
                "right_ratings": int(columns["right"].sum()),
                "ratings_past_end": int(columns["past_end"].sum()),
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
    return summary | {"seconds": seconds, "mb_per_s": size / 1e6 / seconds}


def _duplicates(columns):
    """(rows, the row before each that has the same id), ids being told by a hash of 63 bits."""
    order = np.lexsort((columns["index"], columns["file"], columns["id_hash"]))
    hashes = columns["id_hash"][order]
    again = np.flatnonzero(hashes[1:] == hashes[:-1])
    return order[again + 1], order[again]


def main(argv):
    defaults = ModelConfig("check")
    parser = argparse.ArgumentParser(prog="python -m youtube8m_mod.data.check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_pattern", required=True, help="glob of TFRecord files, or comma-separated globs")
    parser.add_argument("--feature_names", default=",".join(defaults.feature_names), help="comma-separated")
    parser.add_argument("--feature_sizes", default=",".join(map(str, defaults.feature_sizes)), help="comma-separated")
    parser.add_argument("--num_classes", type=int, default=defaults.num_classes)
    parser.add_argument("--output_file", help="writes the report there as JSON too")
    args = parser.parse_args(argv)
    # A model is not built: "dbof" asks no more of the sizes than that they are sizes.
    config = override(
        ModelConfig("check", pooling="dbof"),
        [
            f"feature_names={args.feature_names}",
            f"feature_sizes={args.feature_sizes}",
            f"num_classes={args.num_classes}",
        ],
    )
    summary = check(args.data_pattern, config)
    if args.output_file:
        files.write_json(args.output_file, summary)
    lists = {"problems": summary["problems"], "duplicates": summary.get("duplicates", [])}
    print(terminal.format_table([{"what": what, "value": value} for what, value in _flat(summary)]))
    for name, sentences in lists.items():
        for sentence in sentences[:_SHOWN]:
            print(sentence)
        if len(sentences) > _SHOWN:
            print(
                f"... {len(sentences) - _SHOWN:,} more {name}"
                + (f" in {args.output_file}." if args.output_file else "; --output_file lists them.")
            )
    return 1 if summary["bad"] or summary.get("duplicate_ids") else 0


def _flat(summary):
    for key, value in summary.items():
        if isinstance(value, dict):
            yield from ((f"{key}: {inner}", count) for inner, count in value.items())
        elif not isinstance(value, list):
            yield key, value


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
