"""Videos cut into their 5-frame segments, the second step of section 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from youtube8m_mod.config import SEGMENT_FRAMES

if TYPE_CHECKING:
    import tensorflow as tf


def split_segments(features: tf.Tensor, num_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The segments of a batch of videos: starts 0, 5, 10, ..., the partial last one included.

    Frames beyond the M that `features` holds do not count; rows past the end of a video are copied as they are, the
    model reads the first `present_frames` rows only.

    Args:
        features: (B, M, D), any type.
        num_frames: int (B,).

    Returns:
        features (N, 5, D), present_frames int32 (N,) from 1 to 5, videos int32 (N,), the index in the batch,
        and starts int32 (N,), in order of video and start.
    """
    import tensorflow as tf

    features = tf.convert_to_tensor(features)
    frames = tf.shape(features)[1]
    num_frames = tf.minimum(tf.cast(num_frames, tf.int32), frames)
    padding = -frames % SEGMENT_FRAMES
    features = tf.pad(features, [[0, 0], [0, padding], [0, 0]])
    segments = (frames + padding) // SEGMENT_FRAMES
    features = tf.reshape(features, [-1, segments, SEGMENT_FRAMES, features.shape[2]])
    starts = tf.range(segments) * SEGMENT_FRAMES
    places = tf.where(starts[tf.newaxis] < num_frames[:, tf.newaxis])  # (N, 2): video, segment
    videos = tf.cast(places[:, 0], tf.int32)
    starts = tf.gather(starts, places[:, 1])
    present = tf.minimum(SEGMENT_FRAMES, tf.gather(num_frames, videos) - starts)
    return tf.gather_nd(features, places), present, videos, starts
