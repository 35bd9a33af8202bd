"""What the values of features are like, beside those of the dataset: features of another kind are noticed here.

The dataset's features are whitened, clipped to [-2, 2] and quantised: bytes of mean 127 and deviation 64, of which 3.5%
are 0 and as many 255. Bytes that were written as signed numbers have a deviation of 86; features that are not whitened
have columns of very different deviations, or none below 0; another scale shows in the deviation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from youtube8m_mod.data import records

# Of real records: all values of a video with 170 frames, the means of 1,750 videos.
REFERENCE = {
    records.QUANTIZED: {
        "rgb": {"mean": 126.9, "deviation": 64.1, "share_of_0": 0.036, "share_of_255": 0.035},
        "audio": {"mean": 127.0, "deviation": 62.1, "share_of_0": 0.047, "share_of_255": 0.045},
    },
    records.FLOAT: {"rgb": {"mean": 0.0, "deviation": 1.01}, "audio": {"mean": 0.0, "deviation": 0.97}},
    records.VIDEO_LEVEL: {"rgb": {"mean": 0.0, "deviation": 0.47}, "audio": {"mean": 0.0, "deviation": 0.69}},
}
_DEVIATION = {records.QUANTIZED: (40, 78), records.FLOAT: (0.6, 1.25), records.VIDEO_LEVEL: (0.2, 1.1)}  # Plausible.
_LEAST_VALUES, _LEAST_ROWS = 1_000, 10  # Fewer say nothing.
_ROWS_A_BATCH = 2048  # A sample of the frames: all of them would take longer than reading them.


def measure(features: Sequence[tf.Tensor], spec: records.RecordSpec) -> tuple[tf.Tensor, ...]:
    """float64 sums over a sample of the frames of a batch, for each feature: (size + 1, 5).

    Args:
        features: of `parsing.fields`, where floats are not clipped.

    A row for each column of the feature: the sum, the sum of squares, and the numbers of values of 0, of 255 and beyond
    [-2, 2]; the last row holds the number of frames.
    """
    sums = []
    for values, size in zip(features, spec.sizes):
        stride = tf.maximum(tf.shape(values)[0] // _ROWS_A_BATCH, 1)
        values = values[::stride]
        if spec.kind == records.QUANTIZED:
            values = tf.reshape(tf.io.decode_raw(values, tf.uint8), [-1, size])
        values = tf.cast(values, tf.float64)
        counted = [values, values**2, values == 0, values == 255, tf.abs(values) > records.FLOAT_RANGE[1] + 1e-4]
        columns = tf.stack([tf.reduce_sum(tf.cast(what, tf.float64), axis=0) for what in counted], axis=1)
        rows = tf.fill([1, 5], tf.cast(tf.shape(values)[0], tf.float64))
        sums.append(tf.concat([columns, rows], axis=0))
    return tuple(sums)


def summarize(sums: Sequence[np.ndarray], spec: records.RecordSpec) -> dict[str, dict[str, Any]]:
    """{feature: statistics} of the sums of all batches; bytes as they are, floats dequantised."""
    return {
        key.removeprefix(records.MEAN_PREFIX): _statistics(values, spec.kind) for key, values in zip(spec.keys, sums)
    }


def _statistics(sums, kind):
    columns, rows = sums[:-1], sums[-1, 0]
    values = rows * len(columns)
    if not values:
        return {"frames": 0}
    total = columns.sum(axis=0)
    means = columns[:, 0] / rows
    deviations = np.sqrt(np.maximum(columns[:, 1] / rows - means**2, 0))
    mean = total[0] / values
    found = {
        "frames": int(rows),
        "mean": float(mean),
        "deviation": float(np.sqrt(max(total[1] / values - mean**2, 0))),
        "share_of_0": float(total[2] / values),
    }
    if kind == records.QUANTIZED:
        found["share_of_255"] = float(total[3] / values)
    else:
        found["share_beyond_2"] = float(total[4] / values)
    low, high = np.percentile(deviations, [5, 95])
    return found | {
        "dead_columns": int((deviations <= 1e-6 * (1 + np.abs(means))).sum()) if rows >= _LEAST_ROWS else 0,
        "column_deviations": [float(low), float(high)],
    }


def warnings(statistics: Mapping[str, Mapping[str, Any]], spec: records.RecordSpec, clip: bool = True) -> list[str]:
    """Sentences where features cannot be of the dataset's kind; with `clip` False (own features) only dead columns."""
    sentences = []
    for (name, found), size in zip(statistics.items(), spec.sizes):
        if found["frames"] * size < _LEAST_VALUES:
            continue
        if dead := found["dead_columns"]:
            sentences.append(f'Feature "{name}": {dead:,} of {size:,} columns hold the same value in every frame.')
        if not clip:
            continue
        mean, deviation = found["mean"], found["deviation"]
        low, high = _DEVIATION[spec.kind]
        expected = REFERENCE[spec.kind]["audio" if "audio" in name.lower() else "rgb"]
        beside = f"mean {mean:.3g} and deviation {deviation:.3g}, the dataset's has {expected['mean']:.3g} and " + (
            f"{expected['deviation']:.3g}"
        )
        if deviation > high:
            # Signed numbers move the frequent bytes, those around 127, to both ends: few are 0 or 255.
            signed = spec.kind == records.QUANTIZED and found["share_of_0"] + found["share_of_255"] < 0.025
            why = "bytes that were written as signed numbers have 86" if signed else "another scale, or not whitened"
        elif deviation < low:
            why = "another scale"
        elif abs(mean - expected["mean"]) > 0.4 * expected["deviation"]:
            why = "not centred, so not whitened"
        else:
            spread = found["column_deviations"]
            if found["frames"] < 100 or spread[1] <= 4 * max(spread[0], 1e-9):
                continue
            why = "columns of very different deviations, so not whitened"
        sentences.append(f'Feature "{name}" has {beside}: {why}. The model cannot know such features.')
    return sentences
