"""The miniature's data: a bank of the commonest classes, a dataset for each seed, readers that hold it in memory."""

import contextlib
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod import config, files
from youtube8m_mod.data import records, stream
from youtube8m_mod.data.pass_monitor import Counts
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature.writer import SUMMARY, write_miniature

if TYPE_CHECKING:
    from youtube8m_mod.reproduce.scale import Scale


def write_bank(pattern: str, path: str, num_classes: int, feature_sizes: Sequence[int]) -> None:
    """Writes the video-level records of `pattern` with labels below `num_classes` and the leading features only.

    YouTube-8M numbers its classes by frequency and orders its rgb features by variance (PCA), so these are the
    commonest classes and the principal components. Records without any of the classes are left out.
    """
    reader = Reader(pattern, config.MODELS["nextvlad"])
    if reader.spec.kind != records.VIDEO_LEVEL:
        raise UserError(f'--bank: "{pattern}" must match video-level records, got {reader.spec.kind} ones.')
    starts = np.cumsum([0, *reader.spec.sizes])

    def serialized():
        for batch in reader.read(256):
            batch = {name: values.numpy() for name, values in batch.items()}
            for video_id, means, labels in zip(batch["ids"], batch["features"][:, 0], batch["labels"]):
                kept = np.flatnonzero(labels[:num_classes])
                if kept.size:
                    yield records.video_level_record(
                        video_id,
                        kept.tolist(),
                        **{
                            key: means[start : start + size]
                            for key, start, size in zip(reader.spec.keys, starts, feature_sizes)
                        },
                    )

    records.write_shard(path, serialized())


def prepare_dataset(folder: str, scale: "Scale", seed: int, variation: str, bank: str | None) -> None:
    """Writes the miniature dataset of a seed into `folder`, once.

    Args:
        bank: path of what `write_bank` wrote; None: synthetic scenes.
    """
    if not files.exists(f"{folder}/{SUMMARY}"):
        write_miniature(folder, scale.dataset(seed, variation), bank)


class Partition:
    """Globs of a miniature dataset's parts; the last validate shards, never trained on, are for choosing settings."""

    def __init__(self, folder: str, scale: "Scale", finetuning_shards: int | None = None):
        shards = files.glob(f"{folder}/validate-*.tfrecord")
        self.pretraining = f"{folder}/train-*.tfrecord"
        self.finetuning = ",".join(shards[: finetuning_shards or scale.finetuning_shards])
        self.validation = ",".join(shards[scale.finetuning_shards :])
        self.test = f"{folder}/test-*.tfrecord"
        tests = files.glob(self.test)
        self.curve_test = ",".join(tests[: -(-scale.curve_test_videos // scale.videos_per_shard)])


@functools.lru_cache(maxsize=24)
def load(
    pattern: str,
    feature_names: tuple[str, ...],
    feature_sizes: tuple[int, ...],
    num_classes: int,
    max_frames: int,
    segments: bool,
) -> dict[str, np.ndarray]:
    """All examples of a pattern as numpy arrays by the reader's contract (data/reader.py)."""
    shape = config.ModelConfig(
        "reader",
        feature_names=feature_names,
        feature_sizes=feature_sizes,
        num_classes=num_classes,
        max_frames=max_frames,
        expansion=1,
        groups=2,
    )
    batches = [
        {name: values.numpy() for name, values in batch.items()}
        for batch in Reader(pattern, shape, segments=segments).read(512)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def load_for(model: config.ModelConfig, pattern: str, segments: bool) -> dict[str, np.ndarray]:
    """`load` with the shape that a `ModelConfig` reads."""
    return load(pattern, model.feature_names, model.feature_sizes, model.num_classes, model.max_frames, segments)


class MemoryReader:
    """A `Reader` over arrays: the same contract, without reading and parsing at every pass.

    Args:
        arrays: dict name -> (n, ...), examples by the reader's contract.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.tensors = {name: tf.constant(values) for name, values in arrays.items()}
        self.size = len(arrays["ids"])

    def read(self, batch_size: int, *, seed: int | None = None, epoch: int = 0, skip_batches: int = 0) -> "_Pass":
        """One pass, as `Reader.read`."""
        order = np.arange(self.size)
        if seed is not None:
            order = np.random.default_rng([seed, epoch]).permutation(self.size)
        data = tf.data.Dataset.from_tensor_slices(order[skip_batches * batch_size :]).batch(batch_size)
        data = data.map(lambda index: {name: tf.gather(values, index) for name, values in self.tensors.items()})
        return _Pass(data.with_options(stream.options()))


class _Pass:
    """What `data.reader.Batches` is to a trainer."""

    def __init__(self, dataset):
        self.dataset, self.counts = dataset, Counts()

    def named_errors(self):
        return contextlib.nullcontext()

    def finish(self):
        pass


def gap_patterns(bank: str, bank_test: str | None, records_wanted: int, seed: int) -> tuple[str, str]:
    """(training glob, test glob) of the real video-level records.

    A seed takes its own files of `bank`, as many as hold `records_wanted` records, going round. Without `bank_test` the
    last sixth of the files is for testing only.
    """
    train = files.glob(bank)
    test = files.glob(bank_test) if bank_test else train[len(train) - max(len(train) // 6, 1) :]
    train = [path for path in train if path not in test]
    if not train or not test:
        raise UserError(f'--bank: "{bank}" must match two files at least, one to train on and one to test on.')
    first = max(1, sum(1 for _ in stream.file_records(train[0])[0]))
    count = min(-(-records_wanted // first), len(train))
    chosen = itertools.islice(itertools.cycle(train), seed * count % len(train), None)
    return ",".join(sorted(itertools.islice(chosen, count))), ",".join(test)
