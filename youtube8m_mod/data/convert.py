"""From a folder of features and tables of labels to records: `convert`, and `python -m youtube8m_mod.data.convert`."""

import csv
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from youtube8m_mod import files, terminal
from youtube8m_mod.data import records
from youtube8m_mod.data.dataset import DATASET, Dataset
from youtube8m_mod.data.own_videos import OwnVideos, listed, warn
from youtube8m_mod.errors import UserError
from youtube8m_mod.lock import FolderLock
from youtube8m_mod.overrides import setting
from youtube8m_mod.overwriting import check_outputs

STATE, VOCABULARY, SEGMENT_CLASSES = "convert.json", "vocabulary.csv", "segment_label_ids.csv"
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


def convert(options: ConvertOptions) -> tuple[Dataset, list[dict[str, Any]]]:
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
        check_outputs(
            {f"output_dir's {name}": f"{self.folder}/{name}" for name in (VOCABULARY, SEGMENT_CLASSES, DATASET)},
            {name: getattr(options, name) for name in ("labels", "segments", "vocabulary")}
            | {"like": self.like and self.like.path(DATASET)},
        )
        self.videos = OwnVideos(options, self.like)

    def run(self):
        with FolderLock(self.folder):
            return self._run()

    def _run(self):
        state = self._open_state()
        if "features" not in state:
            state["features"], state["frames"] = self._look_at_features()
            files.write_json(f"{self.folder}/{STATE}", state)
        self.videos.warn_of_past_end(state["frames"])
        found = state["features"]
        normalization = self._normalization(found)
        rows = self._write_shards(found, normalization)
        self._write_vocabulary()
        dataset = Dataset(
            self.folder,
            tuple(found),
            tuple(len(one["mean"]) for one in found.values()),
            max(len(self.videos.names), 1),
            {part: f"{part}-*.tfrecord" for part, ids in self.videos.parts.items() if ids},
            VOCABULARY,
            clip_features=self.quantized or normalization is not None,
            quantized=self.quantized,
            segment_classes=SEGMENT_CLASSES if self.videos.segments else None,
            missing_features=self.options.missing_features,
            feature_means=None if normalization else {name: one["mean"] for name, one in found.items()},
            normalization=normalization,
        )
        dataset.save()
        return dataset, rows

    def _open_state(self):
        """The state of the conversion in the folder, a new one where there is none."""
        options = {name: value for name, value in dataclasses.asdict(self.options).items() if name != "output_dir"}
        digest = hashlib.sha256(
            json.dumps([self.videos.labels, self.videos.segments, self.videos.names], sort_keys=True).encode()
        )
        for paths in self.videos.sources.values():
            digest.update(json.dumps(files.identities([*paths.values()])).encode())
        wanted = {"options": options, "inputs": digest.hexdigest()}
        path = f"{self.folder}/{STATE}"
        if not files.exists(path):
            if any(name.endswith(".tfrecord") for name in files.list_dir(self.folder)):
                raise UserError(f"{self.folder} holds records of another origin: name a new --output_dir.")
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

    def _look_at_features(self):
        """({feature: {"mean", "deviation": of each column, "share_beyond_2"}}, {id of a rated video: its frames}).

        The statistics are those of the training videos.

        Every file is read: what is wrong with one is said before anything is written.
        """
        measured = set(self.videos.parts["train"] or self.videos.ids)
        sums, owner, having, long, rated = {}, {}, {}, [0, 0], {}
        for video_id in terminal.progress(self.videos.ids, unit=" videos", description="looking at features"):
            features = self.videos.read(video_id)
            frames = len(next(iter(features.values())))
            if video_id in self.videos.segments:
                rated[video_id] = frames
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
        lacking = sorted(set(self.videos.ids) - set.intersection(*having.values()))
        if lacking and self.options.missing_features == "error":
            raise UserError(
                f"{len(lacking):,} videos lack one of the features {', '.join(having)} ({listed(lacking)}): "
                "--missing_features=mean keeps them."
            )
        if self.like and {name: size for name, (_, size) in owner.items()} != dict(
            zip(self.like.feature_names, self.like.feature_sizes)
        ):
            found = ", ".join(f"{name} ({size})" for name, (_, size) in owner.items())
            raise UserError(f"{self.options.like} is of other features than these videos, which have {found}.")
        if long[0]:
            warn([f"{long[0]:,} videos are longer than 300 frames, of which the first are read: {long[1]:,} are not"])
        order = self.like.feature_names if self.like else sorted(sums, key=list(owner).index)
        return {name: _statistics(*sums[name]) for name in order}, rated

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
        for part, ids in self.videos.parts.items():
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
                    "labels": sum(len(self.videos.labels.get(one, ())) for one in ids),
                    "ratings": sum(len(self.videos.segments.get(one, ())) for one in ids),
                }
            )
        return rows

    def _record(self, video_id, found, normalization):
        features = self.videos.read(video_id)
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
        ratings = self.videos.segments.get(video_id, []) if self.options.segments else None
        return records.frame_level_record(video_id, self.videos.labels.get(video_id, []), stored, ratings)

    def _write_vocabulary(self):
        videos = dict.fromkeys(self.videos.names, 0)
        for video_id in self.videos.parts["train"]:
            for label in self.videos.labels.get(video_id, ()):
                videos[label] += 1
        with files.write_file(f"{self.folder}/{VOCABULARY}") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["Index", "Name", "TrainVideoCount"])
            table.writerows([number, self.videos.names[number], videos[number]] for number in sorted(self.videos.names))
        if self.videos.segments:
            rated = sorted({label for own in self.videos.segments.values() for _, label, _ in own})
            with files.write_file(f"{self.folder}/{SEGMENT_CLASSES}") as file:
                file.write("Index\n" + "".join(f"{label}\n" for label in rated))


def _statistics(count, beyond, total, squares):
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {"mean": mean.tolist(), "deviation": deviation.tolist(), "share_beyond_2": beyond / (count * len(mean))}


def _values(stored):
    return records.dequantize(stored) if stored.dtype == np.uint8 else stored


if __name__ == "__main__":
    from youtube8m_mod.commands.convert import run

    run()
