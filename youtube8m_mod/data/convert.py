"""From a folder of features and tables of labels to records: `convert`, and `python -m youtube8m_mod.data.convert`."""

import csv
import dataclasses
import hashlib
import json
import os
import sys

import numpy as np

from youtube8m_mod import files, terminal
from youtube8m_mod.data import feature_files, label_tables, records
from youtube8m_mod.data.dataset import PARTITIONS, Dataset
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.label_names import read_label_names
from youtube8m_mod.overrides import setting

STATE, VOCABULARY, SEGMENT_CLASSES = "convert.json", "vocabulary.csv", "segment_label_ids.csv"
FEATURE = "features"  # Name of the one feature of files that name none.
_LISTED = 5  # Of many mismatches so many are named.
# Bytes hold [-2, 2] in steps of 0.016: of another scale most of the information would be lost.
_QUANTIZABLE = (0.25, 1.5)  # Root mean square of the values.


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """What is converted, and how: each of them is a flag of the command."""

    features: str = setting(
        "Glob of .npy, .npz or Parquet files, one a video, named by its id; several features: name=glob,name=glob."
    )
    output_dir: str = setting("Folder for the records and dataset.json.")
    labels: str | None = setting("Table with the columns id, label: a row a label (or several, separated by ;).", None)
    segments: str | None = setting("Table of rated segments: id, start, label[, end][, score], in seconds.", None)
    format: str = setting("How features are stored.", "float", choices=["float", "quantized"])
    normalize: bool = setting("Bring each column to mean 0 and deviation 1, measured on the training videos.", False)
    vocabulary: str | None = setting("Names of the classes, where they are given: vocabulary.csv, or one a line.", None)
    like: str | None = setting(
        "dataset.json whose vocabulary, format and normalisation are taken, for new videos.", None
    )
    split: str = setting("Shares of the videos for train, validate and test.", "0.8,0.1,0.1")
    seed: int = setting("Of the split.", 0)
    videos_per_shard: int = setting("Videos in a file.", 256)
    missing_features: str = setting(
        "A video that lacks one of several features: error, or what it gets when it is read.",
        "error",
        choices=list(records.MISSING_FEATURES),
    )
    allow_mismatches: bool = setting(
        "Leave ids without features out, and keep videos without a label, in place of stopping.", False
    )


def convert(options):
    """Writes shards, vocabulary and dataset.json; continues where an interrupted call with the same options stopped.

    Returns:
        (the `Dataset`, a list of {"partition", "videos", "files", "labels", "ratings"})

    Raises:
        UserError: naming what does not fit together.
    """
    return _Conversion(options).run()


class _Conversion:
    """One call: what it reads, checked against each other, and the steps of the work."""

    def __init__(self, options):
        self.options, self.folder = options, options.output_dir.rstrip("/")
        if options.videos_per_shard < 1:
            raise UserError(f"videos_per_shard must be at least 1, got {options.videos_per_shard}.")
        self.like = Dataset.load(options.like) if options.like else None
        self.quantized = self.like.quantized if self.like else options.format == "quantized"
        self.sources = _sources(options.features)
        self.ids = sorted(set().union(*self.sources.values()))
        self.labels = label_tables.read_labels(options.labels) if options.labels else {}
        self.segments = label_tables.read_segments(options.segments) if options.segments else {}
        self._match_ids()
        self._number_labels()
        self.parts = _split(self.ids, options.split, options.seed)

    def run(self):
        state = self._open_state()
        if "features" not in state:
            state["features"] = self._look_at_features()
            files.write_json(f"{self.folder}/{STATE}", state)
        found = state["features"]
        normalization = self._normalization(found)
        rows = self._write_shards(found, normalization)
        self._write_vocabulary()
        dataset = Dataset(
            self.folder,
            tuple(found),
            tuple(len(one["mean"]) for one in found.values()),
            max(len(self.names), 1),
            {part: f"{part}-*.tfrecord" for part, ids in self.parts.items() if ids},
            VOCABULARY,
            clip_features=self.quantized or normalization is not None,
            quantized=self.quantized,
            segment_classes=SEGMENT_CLASSES if self.segments else None,
            missing_features=self.options.missing_features,
            feature_means=None if normalization else {name: one["mean"] for name, one in found.items()},
            normalization=normalization,
        )
        dataset.save()
        return dataset, rows

    def _match_ids(self):
        """Gives labels and segments the ids of the features; names what has no counterpart."""
        known = {}
        for video_id in self.ids:
            known.setdefault(_stem(video_id), []).append(video_id)

        def counterpart(name):
            found = [name] if name in all_ids else known.get(_stem(name), [])
            return found[0] if len(found) == 1 else None

        all_ids, problems = set(self.ids), []
        for what in ("labels", "segments"):
            matched, unknown = {}, []
            for name, values in getattr(self, what).items():
                video_id = counterpart(name)
                if video_id is None:
                    unknown.append(name)
                else:
                    matched.setdefault(video_id, []).extend(values)
            if unknown:
                path = getattr(self.options, what)
                problems.append(f"{path} names {len(unknown):,} ids without features ({_listed(unknown)})")
            setattr(self, what, matched)
        if self.options.labels and (bare := [name for name in self.ids if not self.labels.get(name)]):
            problems.append(f"{len(bare):,} videos have no label in {self.options.labels} ({_listed(bare)})")
        if problems and not self.options.allow_mismatches:
            raise UserError(
                f"{'; '.join(problems)}: --allow_mismatches leaves ids without features out and keeps videos without "
                "a label."
            )
        _warn(problems)

    def _number_labels(self):
        """Labels as numbers of classes; names those that the vocabulary lacks, and classes that no video has."""
        given = None
        if self.like:
            given = read_label_names(self.like.path(self.like.label_names), self.like.num_classes)
        elif self.options.vocabulary:
            given = read_label_names(self.options.vocabulary)
        self.names, class_of = label_tables.vocabulary(self.labels, self.segments, given)
        texts = {label for own in self.labels.values() for label in own}
        texts |= {label for own in self.segments.values() for _, label, _ in own}
        if unknown := sorted(text for text in texts if class_of(text) is None):
            raise UserError(f"The vocabulary lacks {len(unknown):,} labels of the tables ({_listed(unknown)}).")
        if given and sorted(given) != list(range(len(given))):
            raise UserError(f"{self.options.vocabulary} must name all classes, from 0 on.")
        self.labels = {name: sorted({class_of(label) for label in own}) for name, own in self.labels.items()}
        self.segments = {
            name: [(start, class_of(label), score) for start, label, score in own]
            for name, own in self.segments.items()
        }
        if texts and (idle := sorted(set(self.names) - {class_of(text) for text in texts})):
            listed = _listed([self.names[number] for number in idle])
            _warn([f"no video has {len(idle):,} of the {len(self.names):,} classes ({listed})"])

    def _open_state(self):
        """The state of the conversion in the folder, a new one where there is none."""
        options = {name: value for name, value in dataclasses.asdict(self.options).items() if name != "output_dir"}
        digest = hashlib.sha256(json.dumps([self.labels, self.segments, self.names], sort_keys=True).encode())
        for paths in self.sources.values():
            for path in paths.values():
                digest.update(f"{path} {files.size(path)}\n".encode())
        wanted = {"options": options, "inputs": digest.hexdigest()}
        path = f"{self.folder}/{STATE}"
        if not files.exists(path):
            if any(name.endswith(".tfrecord") for name in files.list_dir(self.folder)):
                raise UserError(f"{self.folder} holds records of another origin: name a new --output_dir.")
            files.write_json(path, wanted)
            return wanted
        state = files.read_json(path)
        if not isinstance(state, dict) or {key: state.get(key) for key in wanted} != wanted:
            earlier = state.get("options") if isinstance(state, dict) else None
            changed = [name for name in options if isinstance(earlier, dict) and earlier.get(name) != options[name]]
            raise UserError(
                f"{self.folder} holds a conversion of other {', '.join(changed) or 'files or labels'}: name a new "
                "--output_dir, or remove the folder."
            )
        return state

    def _read(self, video_id):
        """{feature: uint8 or float32 (frames, size)} of a video, of the features that it has."""
        found = {}
        for name, paths in self.sources.items():
            if video_id not in paths:
                continue
            features = feature_files.read_features(paths[video_id])
            if name:
                if len(features) != 1:
                    raise UserError(f"{paths[video_id]} must hold one array, of the feature {name}.")
                features = {name: next(iter(features.values()))}
            found |= {own or FEATURE: values for own, values in features.items()}
        lengths = {name: len(values) for name, values in found.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{count:,} of {name}" for name, count in lengths.items())
            raise UserError(f'The features of video "{video_id}" must have as many frames each, got {listed}.')
        return found

    def _look_at_features(self):
        """{feature: {"mean", "deviation": of each column, "share_beyond_2"}}, measured on the training videos.

        Every file is read: what is wrong with one is said before anything is written.
        """
        measured = set(self.parts["train"] or self.ids)
        sums, owner, having, long = {}, {}, {}, [0, 0]
        for video_id in terminal.progress(self.ids, unit=" videos", description="looking at features"):
            features = self._read(video_id)
            frames = len(next(iter(features.values())))
            long = [long[0] + (frames > records.MAX_FRAMES), long[1] + max(frames - records.MAX_FRAMES, 0)]
            for name, values in features.items():
                first = owner.setdefault(name, (video_id, values.shape[1]))
                if values.shape[1] != first[1]:
                    raise UserError(
                        f'Feature "{name}" has {values.shape[1]:,} values a frame in video "{video_id}" and '
                        f'{first[1]:,} in "{first[0]}".'
                    )
                having.setdefault(name, set()).add(video_id)
                if video_id in measured:
                    values = _values(values).astype(np.float64)
                    beyond = np.count_nonzero(np.abs(values) > records.FLOAT_RANGE[1])
                    part = np.array([len(values), beyond, values.sum(axis=0), (values**2).sum(axis=0)], object)
                    sums[name] = sums.get(name, 0) + part
        lacking = sorted(set(self.ids) - set.intersection(*having.values()))
        if lacking and self.options.missing_features == "error":
            raise UserError(
                f"{len(lacking):,} videos lack one of the features {', '.join(having)} ({_listed(lacking)}): "
                "--missing_features=mean keeps them."
            )
        if self.like and {name: size for name, (_, size) in owner.items()} != dict(
            zip(self.like.feature_names, self.like.feature_sizes)
        ):
            listed = ", ".join(f"{name} ({size})" for name, (_, size) in owner.items())
            raise UserError(f"{self.options.like} is of other features than these videos, which have {listed}.")
        if long[0]:
            _warn([f"{long[0]:,} videos are longer than 300 frames, of which the first are read: {long[1]:,} are not"])
        order = self.like.feature_names if self.like else sorted(sums, key=list(owner).index)
        return {name: _statistics(*sums[name]) for name in order}

    def _normalization(self, found):
        """{feature: {"mean", "deviation"}} to be applied; None: values stay as they are."""
        if self.like:
            return self.like.normalization
        if self.options.normalize:
            return {name: {key: one[key] for key in ("mean", "deviation")} for name, one in found.items()}
        for name, one in found.items() if self.quantized else ():
            low, high = _QUANTIZABLE
            spread = float(np.sqrt(np.mean(np.square(one["deviation"]) + np.square(one["mean"]))))
            if not low <= spread <= high:
                raise UserError(
                    f'Values of feature "{name}" are of the size {spread:.3g}, {100 * one["share_beyond_2"]:.1f}% of '
                    "them beyond 2: quantised to [-2, 2] in steps of 0.016 they would lose most of what they say; "
                    "--normalize brings them there, or --format=float keeps them."
                )
        return None

    def _write_shards(self, found, normalization):
        """Writes the shards that are not there yet; the rows of a table of the partitions."""
        rows, size = [], self.options.videos_per_shard
        for part, ids in self.parts.items():
            if not ids:
                continue
            shards = [ids[first : first + size] for first in range(0, len(ids), size)]
            with terminal.progress(total=len(ids), unit=" videos", description=part) as progress:
                for number, own in enumerate(shards):
                    path = f"{self.folder}/{part}-{number:05d}-of-{len(shards):05d}.tfrecord"
                    if not files.exists(path):
                        records.write_shard(path, (self._record(one, found, normalization) for one in own))
                    progress.update(len(own))
            rows.append(
                {
                    "partition": part,
                    "videos": len(ids),
                    "files": len(shards),
                    "labels": sum(len(self.labels.get(one, ())) for one in ids),
                    "ratings": sum(len(self.segments.get(one, ())) for one in ids),
                }
            )
        return rows

    def _record(self, video_id, found, normalization):
        features = self._read(video_id)
        stored = {}
        for name in found:
            if name not in features:
                continue  # Filled when it is read.
            values = features[name]
            if normalization:
                mean, deviation = (np.asarray(normalization[name][key]) for key in ("mean", "deviation"))
                values = (_values(values) - mean) / np.where(deviation > 0, deviation, 1)
            if not self.quantized:
                values = _values(values).astype(np.float32)
            elif values.dtype != np.uint8:
                values = records.quantize(values)
            stored[name] = values
        ratings = self.segments.get(video_id, []) if self.options.segments else None
        return records.frame_level_record(video_id, self.labels.get(video_id, []), stored, ratings)

    def _write_vocabulary(self):
        videos = dict.fromkeys(self.names, 0)
        for video_id in self.parts["train"]:
            for label in self.labels.get(video_id, ()):
                videos[label] += 1
        with files.write_file(f"{self.folder}/{VOCABULARY}") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["Index", "Name", "TrainVideoCount"])
            table.writerows([number, self.names[number], videos[number]] for number in sorted(self.names))
        if self.segments:
            rated = sorted({label for own in self.segments.values() for _, label, _ in own})
            with files.write_file(f"{self.folder}/{SEGMENT_CLASSES}") as file:
                file.write("Index\n" + "".join(f"{label}\n" for label in rated))


def _sources(text):
    """{feature: {id: path}} of "glob" (feature "") or "name=glob,name=glob"."""
    parts = [part.partition("=") for part in text.split(",")]
    if not any(sign for _, sign, _ in parts):
        return {"": feature_files.list_files(text)}
    sources = {}
    for name, sign, pattern in parts:
        if not (name and sign and pattern) or name in sources:
            raise UserError(f'--features must be a glob, or name=glob of different names, got "{text}".')
        sources[name] = feature_files.list_files(pattern)
    return sources


def _split(ids, text, seed):
    """{partition: ids}, assigned by a seed; each partition in the order of the ids."""
    try:
        shares = [float(part) for part in text.split(",")]
        if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError
    except ValueError:
        raise UserError(f'split must be three shares that sum to 1, as in 0.8,0.1,0.1, got "{text}".') from None
    if not 0 <= seed < 2**31:
        raise UserError(f"seed must be from 0 to {2**31 - 1}, got {seed}.")
    ends = np.rint(np.cumsum([0, *shares]) * len(ids)).astype(int)
    order = np.random.default_rng(seed).permutation(len(ids))
    return {
        part: [ids[place] for place in sorted(order[start:end])] for part, start, end in zip(PARTITIONS, ends, ends[1:])
    }


def _statistics(count, beyond, total, squares):
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {"mean": mean.tolist(), "deviation": deviation.tolist(), "share_beyond_2": beyond / (count * len(mean))}


def _values(stored):
    return records.dequantize(stored) if stored.dtype == np.uint8 else stored


def _stem(name):
    return os.path.splitext(os.path.basename(name))[0]


def _listed(names):
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _warn(sentences):
    for sentence in sentences:
        print(f"warning: {sentence}.", file=sys.stderr)


if __name__ == "__main__":
    from youtube8m_mod.commands.convert import run

    run()
