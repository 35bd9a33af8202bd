"""Small records, and ways to damage them."""

import struct

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import records

CONFIG = ModelConfig("test", feature_sizes=(8, 4), num_classes=10, max_frames=6, groups=2, clusters=2, expansion=1)


def frames(video_id, count, names=("rgb", "audio"), sizes=(8, 4), dtype=np.uint8):
    """Features of a video, told by its id."""
    random = np.random.default_rng(sum(ord(letter) << i for i, letter in enumerate(video_id)))
    values = {name: random.integers(0, 256, (count, size), dtype=np.uint8) for name, size in zip(names, sizes)}
    return values if dtype == np.uint8 else {name: records.dequantize(value) for name, value in values.items()}


def record(video_id, count=4, labels=(1, 3), segments=None, **kwargs):
    return records.frame_level_record(video_id, labels, frames(video_id, count, **kwargs), segments)


def write(folder, name, serialized):
    path = str(folder / name)
    records.write_shard(path, serialized)
    return path


def mutated(serialized, change):
    """The record after `change(SequenceExample)`."""
    message = tf.train.SequenceExample.FromString(serialized)
    change(message)
    return message.SerializeToString()


def frame(message, key, i):
    """Frame `i` of the feature `key` of a SequenceExample."""
    return message.feature_lists.feature_list[key].feature[i]


def crc32c(data):
    """Castagnoli's checksum as TFRecord files mask it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def header(length):
    """The header of a TFRecord that announces `length` bytes, its checksum right."""
    announced = struct.pack("<Q", length)
    return announced + struct.pack("<I", crc32c(announced))


def numpy_batches(batches):
    return [{key: value.numpy() for key, value in batch.items()} for batch in batches]


def joined(batches):
    """All batches as one, along the batch axis."""
    batches = numpy_batches(batches)
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def ids_of(batches):
    return [video_id.decode() for batch in batches for video_id in batch["ids"].numpy()]
