"""What `benchmarks.fuzz` throws at the package: one class a kind of input, whose instances do a case each."""

import contextlib
import gzip
import io
import json
import os
import zlib

import numpy as np

from benchmarks import mutations, sequences
from youtube8m_mod import config, overrides
from youtube8m_mod.errors import UserError

MODEL = config.model_config(
    "nextvlad_tiny",
    [
        "feature_sizes=16,8",
        "num_classes=30",
        "max_frames=20",
        "clusters=4",
        "groups=2",
        "expansion=1",
        "hidden_size=8",
        "gating_reduction=2",
    ],
)
IDS = [f"vid{number:02d}" for number in range(12)]


class _File:
    """A kind whose input is one file: `content(random)` gives its bytes, `read(path)` reads it."""

    suffix = ""

    def __init__(self, folder):
        self.folder = folder
        self.path = os.path.join(folder, f"{type(self).__name__.lower()}{self.suffix}")

    def __call__(self, random):
        content = self.content(random)
        with open(self.path, "wb") as file:
            file.write(content)
        try:
            self.read(self.path, random)
        except UserError as error:
            if self.path not in str(error) and "hold no record" not in str(error):
                raise AssertionError(f"the error does not name {self.path}: {error}") from error
            raise


class Submissions(_File):
    """Submissions, scored strictly and not, in every mode; plain and gzip."""

    def __init__(self, folder):
        super().__init__(folder)
        from youtube8m_mod.evaluation.rated_labels import RatedLabels

        self.labels = RatedLabels(
            {
                label: {f"{video}:{5 * (label % 3)}".encode(): place % 2 == 0 for place, video in enumerate(IDS)}
                for label in range(5)
            }
        )
        lines = [
            f"{label},{' '.join(f'{video}:{start}' for video in IDS for start in (0, 5, 10))}\n" for label in range(6)
        ]
        self.text = ("Class,Segments\n" + "".join(lines)).encode()

    def content(self, random):
        return _maybe_gzip(random, mutations.mutate_text(random, self.text))

    def read(self, path, random):
        from youtube8m_mod.evaluation.mean_average_precision import MODES, evaluate
        from youtube8m_mod.evaluation.summary import map_json, map_tables

        result = evaluate(
            path, self.labels, random.choice((0, 3, 100_000)), random.choice(sorted(MODES)), random.random() < 0.5
        )
        assert 0 <= result.map <= 2
        json.dumps(map_json(result, {}, self.labels))
        map_tables(result, {}, self.labels)


class LabelCaches(_File):
    """Label caches, ours and the starter code's; plain and gzip."""

    text = "".join(
        f"{video}:{5 * place},{label},{label % 2}.0\n" for place, video in enumerate(IDS) for label in range(4)
    ).encode()

    def content(self, random):
        text = self.text
        if random.random() < 0.3:
            text = text.replace(b"vid03", b"b'vid03'")
        return _maybe_gzip(random, mutations.mutate_text(random, text))

    def read(self, path, random):
        from youtube8m_mod.evaluation.rated_labels import load_labels

        labels = load_labels(cache=path)
        for label in labels.classes:
            labels[label].num_positives
        labels.write_cache(os.path.join(self.folder, "rewritten"))


class Predictions(_File):
    """Predictions of videos, and lists of segment classes."""

    text = ("VideoId,LabelConfidencePairs\n" + "".join(f"{video},3 0.9 7 0.25 1 1e-05\n" for video in IDS)).encode()

    def content(self, random):
        return mutations.mutate_text(random, self.text)

    def read(self, path, random):
        from youtube8m_mod.evaluation.video_metrics import video_scores
        from youtube8m_mod.formats.predictions import read_predictions

        video_scores({video: np.array([1, 3]) for video in IDS}, read_predictions(path))


class ClassIds(Predictions):
    """Lists of segment classes."""

    text = ("Index\n" + "".join(f"{label}\n" for label in range(0, 30, 3))).encode()

    def read(self, path, random):
        from youtube8m_mod.formats.class_lists import read_class_ids

        read_class_ids(path, 30)


class RunFiles(_File):
    """run.json of a train_dir, and what follows from its configurations without building the model."""

    def __init__(self, folder):
        super().__init__(folder)
        import tensorflow  # noqa: F401  So that no case pays for it.

        from youtube8m_mod.training.run import Run

        self.path = os.path.join(folder, "run.json")
        Run(MODEL, config.PHASES["finetune"], 7, started_from="runs/pretrain", classes=[1, 2, 3]).save(folder)
        with open(self.path, encoding="utf-8") as file:
            self.value = json.load(file)

    def content(self, random):
        return mutations.mutate_json(random, self.value)

    def read(self, path, random):
        from youtube8m_mod.models.size import check_memory
        from youtube8m_mod.training.run import Run

        run = Run.load(self.folder)
        run.model.num_leaves, run.phase.distillation_weight_at(1)
        run.save(os.path.join(self.folder, "again"))
        with contextlib.suppress(UserError):  # It names the model; there is no file to name.
            check_memory(run.model, 3, run.phase.batch_size, run.model.max_frames)


class Overrides:
    """field=value of the command line."""

    def __init__(self, folder):
        import tensorflow  # noqa: F401  So that no case pays for it.

    def __call__(self, random):
        from youtube8m_mod.models.size import check_memory

        model, phase = config.MODELS["mod_nextvlad"], config.PHASES["finetune"]
        fields = [*overrides.to_dict(model), *overrides.to_dict(phase), "", "name", "frobnicate"]
        texts = []
        for _ in range(random.randint(1, 3)):
            if random.random() < 0.6:
                value = random.choice(
                    (b"4x3", b"1024,128", b"none", b"true", b"8", b"2", b"0.5", b"dbof", b"1", b"rgb,audio")
                )
            else:
                value = random.choice(
                    (*mutations.TEXTS, *(str(value).encode(errors="replace") for value in mutations.VALUES))
                )
            text = f"{random.choice(fields)}={value.decode(errors='replace')}"
            texts.append(
                mutations.mutate_bytes(random, text.encode()).decode(errors="replace")
                if random.random() < 0.2
                else text
            )
        model_texts, phase_texts = overrides.split_overrides(texts, model, phase)
        model, phase = overrides.override(model, model_texts), overrides.override(phase, phase_texts)
        check_memory(model, 3, phase.batch_size, model.max_frames)


class Histories(_File):
    """history.jsonl of a train_dir."""

    def __init__(self, folder):
        super().__init__(folder)
        import tensorflow  # noqa: F401  So that no case pays for it.

        self.path = os.path.join(folder, "history.jsonl")
        self.text = "".join(
            json.dumps({"step": 10 * n, "loss": 1 / n, "epoch": 0}) + "\n" for n in range(1, 9)
        ).encode()

    def content(self, random):
        return mutations.mutate_text(random, self.text)

    def read(self, path, random):
        from youtube8m_mod.training.history import read_history

        read_history(self.folder)


class Arrays(_File):
    """Archives of arrays, as pieces of an inference run are."""

    suffix = ".npz"

    def content(self, random):
        content = io.BytesIO()
        np.savez(content, files=np.arange(3), scores=np.ones((4, 5), np.float32), ids=np.array([b"abc", b"d"]))
        return mutations.mutate_bytes(random, content.getvalue())

    def read(self, path, random):
        from youtube8m_mod.formats.arrays import read_arrays

        read_arrays(path, random.choice((None, ["files"])))


class Eigenvalues(_File):
    """The .npy of the PCA eigenvalues."""

    def __init__(self, folder):
        super().__init__(folder)
        self.model = _model()

    def content(self, random):
        content = io.BytesIO()
        dtype = random.choice((np.float32, np.float64, np.int64, "S3", bool, np.complex64))
        np.save(content, np.ones(random.choice(((16, 1), (16,), (2048, 1), (4, 4), ())), dtype))
        return mutations.mutate_bytes(random, content.getvalue())

    def read(self, path, random):
        from youtube8m_mod.training.checkpoints import set_eigenvalues

        set_eigenvalues(self.model, path)


class Checkpoints:
    """The newest checkpoint of a train_dir with damaged files: the one before must be taken, or this one be good."""

    def __init__(self, folder):
        from youtube8m_mod.training import checkpoint_store, checkpoints
        from youtube8m_mod.training.optimizer import FusedAdam

        self.folder, self.model = folder, _model()
        self.optimizer = FusedAdam(1e-3)
        self.optimizer.build(self.model.trainable_variables)
        for step in (10, 20):
            checkpoints.save(folder, self.model, self.optimizer, checkpoint_store.new_state(step), keep=2)
        self.newest = os.path.join(folder, "checkpoint-00000020")
        self.contents = {}
        for name in os.listdir(self.newest):
            with open(os.path.join(self.newest, name), "rb") as file:
                self.contents[name] = file.read()

    def __call__(self, random):
        from youtube8m_mod.training import checkpoints

        for name in random.sample(sorted(self.contents), random.randint(1, 2)):
            damaged = mutations.mutate_bytes(random, self.contents[name])
            with open(os.path.join(self.newest, name), "wb") as file:
                file.write(damaged)
        try:
            with contextlib.redirect_stderr(io.StringIO()) as told:
                state = checkpoints.restore_latest(self.folder, self.model, self.optimizer)
            assert state["step"] == (10 if "is damaged" in told.getvalue() else 20)
        finally:
            for name, content in self.contents.items():
                with open(os.path.join(self.newest, name), "wb") as file:
                    file.write(content)


class Shards(_File):
    """TFRecord files with damaged bytes, read as videos or as segments, strictly or counting what is bad."""

    def __init__(self, folder):
        super().__init__(folder)
        self.records = _good_records()

    def content(self, random):
        self.kind = random.choice(sorted(self.records))
        self.damaged = (
            self.records[self.kind]
            if random.random() < 0.7
            else [mutations.mutate_record(random, record) for record in self.records[self.kind]]
        )
        content = _tfrecord(self.path, self.damaged)
        return mutations.mutate_bytes(random, content) if random.random() < 0.7 else content

    def read(self, path, random):
        _read(
            path,
            segments=self.kind == "frames" and random.random() < 0.5,
            skip=random.random() < 0.3,
            share=random.choice((0.01, 1.0)),
        )


class Truth(Shards):
    """The ground truth in damaged records."""

    def read(self, path, random):
        from youtube8m_mod.data.ground_truth import rated_segments, video_labels

        list((rated_segments if random.random() < 0.7 else video_labels)(path))


class Records(_File):
    """Mutated records in whole files: each is read, or counted as bad."""

    group = 50

    def __init__(self, folder):
        super().__init__(folder)
        self.records = _good_records()

    def content(self, random):
        self.kind = random.choice(sorted(self.records))
        first = self.records[self.kind][0]  # A good one tells what the file holds.
        return _tfrecord(
            self.path,
            [first]
            + [mutations.mutate_record(random, random.choice(self.records[self.kind])) for _ in range(self.group)],
        )

    def __call__(self, random):
        content = self.content(random)
        with open(self.path, "wb") as file:
            file.write(content)
        segments = self.kind == "frames" and random.random() < 0.5
        examples, counts = _read(self.path, segments, skip=True, share=1.0)
        bad = sum(counts.bad.values())
        assert counts.records == self.group + 1, counts
        assert segments or examples + bad == self.group + 1, (examples, counts)
        return {"result": self.group - bad, "counted and skipped": bad}


class ForeignRecords(Records):
    """Mutated records of MediaSequence, and records that lack a feature, which is filled."""

    def __init__(self, folder):
        super().__init__(folder)
        self.records = {"sequences": _sequences(), "lacking": _sequences(lacking=True)}

    def __call__(self, random):
        content = self.content(random)
        with open(self.path, "wb") as file:
            file.write(content)
        from youtube8m_mod.data.records import ReaderSettings

        settings = ReaderSettings(missing_features="mean" if self.kind == "lacking" else "error")
        segments = random.random() < 0.5
        examples, counts = _read(self.path, segments, skip=True, share=1.0, settings=settings)
        bad = sum(counts.bad.values())
        assert counts.records == self.group + 1, counts
        assert segments or examples + bad == self.group + 1, (examples, counts)
        return {"result": self.group - bad, "counted and skipped": bad}


class ForeignFiles(_File):
    """Files that are no plain TFRecord: compressed, a bare record, text, arrays; whole and damaged."""

    def __init__(self, folder):
        super().__init__(folder)
        self.shard = _tfrecord(self.path, _good_records()["frames"])
        self.forms = (
            lambda: gzip.compress(self.shard, mtime=0),
            lambda: zlib.compress(self.shard),
            lambda: _good_records()["frames"][0],
            lambda: b'{"train0000.tfrecord": "d41d8cd98f00b204e9800998ecf8427e"}',
            lambda: b"<!DOCTYPE html><html><body>404</body></html>",
            lambda: b"VideoId,LabelConfidencePairs\nabcd,1 0.5\n",
            lambda: b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
        )

    def content(self, random):
        content = random.choice(self.forms)()
        return mutations.mutate_bytes(random, content) if random.random() < 0.6 else content

    def read(self, path, random):
        _read(path, segments=random.random() < 0.3, skip=random.random() < 0.5, share=random.choice((0.01, 1.0)))


class LabelNames(_File):
    """Names of classes: tables and lines."""

    texts = (
        "".join(f"name {number}\n" for number in range(30)),
        "Index,KnowledgeGraphId,Name\n" + "".join(f'{number},/m/{number},"a, {number}"\n' for number in range(30)),
    )

    def content(self, random):
        return mutations.mutate_text(random, random.choice(self.texts).encode())

    def read(self, path, random):
        from youtube8m_mod.formats.label_names import read_label_names

        names = read_label_names(path, random.choice((None, 30)))
        assert all(isinstance(name, str) for name in names.values())


class LabelTables(_File):
    """Tables of labels and of rated segments that a conversion reads."""

    texts = (
        "id,label\n" + "".join(f"{video},{place % 4}\n" for place, video in enumerate(IDS)),
        "id,start,end,label,score\n" + "".join(f"{video},0,{5 * n + 5},a;b,1\n" for n, video in enumerate(IDS)),
    )

    def content(self, random):
        self.kind = random.randint(0, 1)
        return mutations.mutate_text(random, self.texts[self.kind].encode())

    def read(self, path, random):
        from youtube8m_mod.data import label_tables

        table = (label_tables.read_labels, label_tables.read_segments)[self.kind](path)
        label_tables.vocabulary(*((table, {}) if self.kind == 0 else ({}, table)))


class DatasetFiles(_File):
    """dataset.json."""

    suffix = ".json"
    value = {
        "feature_names": ["rgb", "audio"],
        "feature_sizes": [16, 8],
        "num_classes": 30,
        "partitions": {"train": "train-*.tfrecord", "test": "test-*.tfrecord"},
        "label_names": "vocabulary.csv",
        "clip_features": True,
        "missing_features": "mean",
        "feature_means": {"audio": [0.5] * 8},
        "normalization": None,
        "record_keys": {"id": "name"},
    }

    def content(self, random):
        return mutations.mutate_json(random, self.value)

    def read(self, path, random):
        from youtube8m_mod.data.dataset import Dataset

        dataset = Dataset.load(path)
        for partition in dataset.partitions:
            dataset.pattern(partition)
        dataset.reader_settings()
        with contextlib.suppress(UserError):  # It names the field.
            overrides.override(MODEL, dataset.model_texts())


class FeatureFiles(_File):
    """Features of a video in arrays."""

    def __init__(self, folder):
        super().__init__(folder)
        self.path = os.path.join(folder, "features.npy")

    def content(self, random):
        content = io.BytesIO()
        shape = random.choice(((12, 16), (12, 16), (16,), (0, 16), (2, 3, 4), ()))
        dtype = random.choice((np.float32, np.float64, np.uint8, np.int64, np.float16, bool, "S3"))
        np.save(content, np.ones(shape, dtype))
        return mutations.mutate_bytes(random, content.getvalue()) if random.random() < 0.6 else content.getvalue()

    def read(self, path, random):
        from youtube8m_mod.data.feature_files import read_features

        for values in read_features(path).values():
            assert values.ndim == 2 and values.dtype in (np.float32, np.uint8) and np.isfinite(values).all()


def _sequences(lacking=False):
    """Records of MediaSequence, or with another of the features in each."""
    import tensorflow as tf

    serialized = []
    for place, record in enumerate(_good_records()["floats"]):
        message = tf.train.SequenceExample.FromString(record)
        context = message.context.feature
        if lacking:
            del message.feature_lists.feature_list[("rgb", "audio")[place % 2]]
        else:
            context["clip/label/index"].int64_list.value.extend((1, 5))
            del context["labels"]
            context["segment/start/timestamp"].int64_list.value.extend((0, 5_000_000))
            context["segment/end/timestamp"].int64_list.value.extend((5_000_000, 17_000_000))
            context["segment/label/index"].int64_list.value.extend((3, 4))
            context["segment/label/confidence"].float_list.value.extend((0.25, 1.0))
        serialized.append(message.SerializeToString(deterministic=True))
    return serialized


def _read(path, segments, skip, share, settings=None):
    """Reads a pass; returns (number of examples, `Counts`)."""
    from youtube8m_mod.data.reader import Reader

    reader = Reader(path, MODEL, segments=segments, skip_bad_records=skip, max_bad_share=share, settings=settings)
    batches, examples = reader.read(8, seed=0), 0
    for batch in batches:
        features = batch["features"].numpy()
        assert np.isfinite(features).all() and features.shape[1:] == (reader.max_frames, 24)
        assert batch["labels"].shape == (len(features), 30)
        examples += len(features)
    return examples, batches.counts


def _good_records():
    """{kind: serialized records}."""
    from youtube8m_mod.data.records import frame_level_record, video_level_record

    random = np.random.default_rng(0)
    rated = [(0, 3, 1), (5, 4, 0), (5, 5, 1), (20, 3, 0)]
    frames = [
        (
            video,
            [1, 2],
            {"rgb": random.integers(0, 256, (12, 16), np.uint8), "audio": random.integers(0, 256, (12, 8), np.uint8)},
            rated,
        )
        for video in IDS[:3]
    ]
    floats = [
        (
            video,
            [1],
            {
                "rgb": random.normal(size=(6, 16)).astype(np.float32),
                "audio": random.normal(size=(6, 8)).astype(np.float32),
            },
        )
        for video in IDS[:3]
    ]
    return {
        "frames": [frame_level_record(*arguments) for arguments in frames],
        "floats": [frame_level_record(*arguments) for arguments in floats],
        "means": [
            video_level_record(video, [2, 5], mean_rgb=random.normal(size=16), mean_audio=random.normal(size=8))
            for video in IDS[:3]
        ],
    }


def _tfrecord(path, serialized):
    """The bytes of a TFRecord file; writes it to `path`."""
    from youtube8m_mod.data.records import write_shard

    write_shard(path, serialized)
    with open(path, "rb") as file:
        return file.read()


def _model():
    from youtube8m_mod.models.mod import MOD

    return MOD.for_phase(MODEL, config.PHASES["finetune"])


def _maybe_gzip(random, text):
    if random.random() < 0.8:
        return text
    packed = gzip.compress(text, mtime=0)
    return mutations.mutate_bytes(random, packed, 2) if random.random() < 0.5 else packed


TARGETS = {
    "records": Records,
    "foreign records": ForeignRecords,
    "foreign files": ForeignFiles,
    "label names": LabelNames,
    "label tables": LabelTables,
    "dataset files": DatasetFiles,
    "feature files": FeatureFiles,
    "shards": Shards,
    "truth": Truth,
    "submissions": Submissions,
    "label caches": LabelCaches,
    "predictions": Predictions,
    "class ids": ClassIds,
    "run files": RunFiles,
    "overrides": Overrides,
    "histories": Histories,
    "arrays": Arrays,
    "eigenvalues": Eigenvalues,
    "checkpoints": Checkpoints,
    **sequences.TARGETS,
}
SHARES = {
    "foreign records": 0.08,
    "foreign files": 0.02,
    "label names": 0.03,
    "label tables": 0.03,
    "dataset files": 0.01,
    "feature files": 0.01,
    "submissions": 0.12,
    "label caches": 0.08,
    "predictions": 0.05,
    "class ids": 0.02,
    "run files": 0.09,
    "overrides": 0.06,
    "histories": 0.03,
    "arrays": 0.02,
    "eigenvalues": 0.02,
    "checkpoints": 0.03,
    "truth": 0.03,
    "shards": 0.02,
    "records": 0.16,
    "inferences": 0.02,
    "evaluations": 0.03,
    "trainings": 0.04,
}
