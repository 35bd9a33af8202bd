"""Writes a trained model for serving (docs/serving.md).

The result is a folded SavedModel that any TensorFlow loads, or a TFLite model with 8-bit weights. Before it appears it
is loaded in a fresh process, without this package and on the CPU, and answers recorded requests as the trained model
does.
"""

import contextlib
import dataclasses
import os
import tempfile
from typing import Any

import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference import int8
from youtube8m_mod.inference.folded import fold
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.overrides import to_dict
from youtube8m_mod.serving import tflite
from youtube8m_mod.serving.blessing import Recorder, bless, device_strings
from youtube8m_mod.serving.signatures import Signatures, column_names
from youtube8m_mod.serving.warmup import prediction_log

TOLERANCES = {"float32": 1e-5, "bfloat16": 0.02, "int8": int8.TOLERANCE}  # Largest difference of a probability.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
SUMMARY_FILE = "export.json"  # Of a SavedModel in its folder assets.extra.
LABEL_NAMES_FILE = "label_names.txt"
TFLITE_FILE = "model.tflite"


@dataclasses.dataclass
class Export:
    """What to export, and how.

    Attributes:
        node: path of the node that answers: "" is the root, "1/2" a leaf of a tree of two levels.
        precision: of a SavedModel, "float32" or "bfloat16".
        classes: numbers of the classes to score, in the order of the columns; None: all.
        label_names: {class: name} of the exported classes at least, or a list of all; None: no names.
        top_k: classes in an answer of `serialized_examples`.
        model_name: under which the model will be served; for the warm-up requests.
        embeddings: "concatenate" or "mean" adds a signature that gives the leaves' hidden vectors, joined so.
    """

    node: str = ""
    precision: str = "float32"
    classes: list | None = None
    label_names: dict | list | None = None
    top_k: int = 20
    model_name: str = "youtube8m"
    embeddings: str | None = None

    def save_model(self, model: MOD, output_dir: str) -> dict[str, Any]:
        """Writes the SavedModel of a `MOD` to `output_dir`, a folder that does not exist yet.

        Returns:
            a dict: what was exported, its bytes and its largest difference from the trained model; also written to
            `assets.extra/export.json`.

        Raises:
            UserError: where `output_dir` exists, or the written model fails its blessing; nothing is left then.
        """
        with _appearing(output_dir) as folder, tempfile.TemporaryDirectory() as scratch:
            folded = self._fold(model, precision=self.precision)
            names_path = self._write_label_names(folded, scratch)
            signatures = Signatures(folded, self.top_k, names_path, self.embeddings)
            with files.named_errors(output_dir, "write"):
                tf.saved_model.save(signatures, folder, signatures.concrete_functions())
            if devices := device_strings(folder):
                raise UserError(f"The exported model asks for the devices {', '.join(devices)}, none was expected.")
            recorder = Recorder(model, self.node, folded.classes, self.top_k)
            requests = recorder.requests()
            if self.embeddings:
                requests += [
                    recorder.embeddings(lengths, self.embeddings) for lengths in ((1,), (2, model.frames + 10))
                ]
            difference = bless(folder, recorder, requests, TOLERANCES[self.precision])
            files.make_dirs(f"{folder}/assets.extra")
            with files.named_errors(output_dir, "write"), tf.io.TFRecordWriter(f"{folder}/{WARMUP_FILE}") as writer:
                for request in requests:
                    writer.write(prediction_log(self.model_name, request.signature, request.inputs))
            summary = self._summary(model) | {"largest_difference": difference}
            files.write_json(f"{folder}/assets.extra/{SUMMARY_FILE}", summary)
            return summary | {"bytes": tree_bytes(folder)}

    def save_tflite(self, model: MOD, output_dir: str, data_pattern: str, max_loss: float) -> dict[str, Any]:
        """Writes `model.tflite`, 8-bit weights, of a `MOD` to `output_dir`, a folder that does not exist yet.

        Args:
            data_pattern: glob of TFRecords with labels on which its MAP is held against the float32 model's.
            max_loss: largest loss of MAP that is accepted.

        Returns:
            a dict: what was exported, its bytes, difference, and both MAPs; also written to `export.json`.

        Raises:
            UserError: where `output_dir` exists, or the model fails its blessing or loses more MAP; nothing is left.
        """
        if self.precision != "float32":
            raise UserError(f"A TFLite model has 8-bit weights: --precision={self.precision} does not go with it.")
        if self.embeddings:
            raise UserError("A TFLite model gives predictions only: --embeddings does not go with it.")
        with _appearing(output_dir) as folder:
            reader = Reader(data_pattern, model.config, segments=model.segments, max_frames=model.frames)
            folded = self._fold(model, kernels_right=True)
            content = tflite.convert(Signatures(folded, self.top_k))
            path = f"{folder}/{TFLITE_FILE}"
            with files.write_file(path, "wb") as file:
                file.write(content)
            recorder = Recorder(model, self.node, folded.classes, self.top_k)
            batches = ((model.frames,), (1, model.frames // 2 + 1, model.frames))
            requests = [recorder.videos(lengths)[0] for lengths in batches]
            difference = bless(path, recorder, requests, TOLERANCES["int8"])
            (float_map, int8_map), ratings = tflite.mean_average_precisions(
                [
                    lambda features, present: folded.predict(
                        features, None if model.segments else present, present
                    ).numpy(),
                    tflite.predictor(content),
                ],
                reader,
                folded.classes,
            )
            if not ratings:
                raise UserError(
                    f"{data_pattern} rates none of the {len(folded.classes)} classes: accuracy cannot be checked."
                )
            if float_map - int8_map > max_loss:
                raise UserError(
                    f"The MAP on {data_pattern} fell from {float_map:.4f} in float32 to {int8_map:.4f} "
                    f"with 8-bit weights, a loss of at most {max_loss:g} was expected."
                )
            self._write_label_names(folded, folder)
            summary = self._summary(model) | {
                "precision": "int8 dynamic range",
                "largest_difference": difference,
                "float32_map": float_map,
                "int8_map": int8_map,
                "ratings": ratings,
            }
            files.write_json(f"{folder}/{SUMMARY_FILE}", summary)
            return summary | {"bytes": len(content)}

    def _fold(self, model, **options):
        if self.top_k < 1:
            raise UserError(f"top_k must be at least 1, got {self.top_k}.")
        count = model.config.num_classes
        if isinstance(self.label_names, dict):
            exported = range(count) if self.classes is None else self.classes
            if missing := [label for label in exported if label not in self.label_names]:
                raise UserError(
                    f"The label names leave out {len(missing):,} of the exported classes, {missing[0]} first."
                )
        elif self.label_names is not None and len(self.label_names) != count:
            raise UserError(
                f"The label names must be {count:,} lines, one a class of the vocabulary, got "
                f"{len(self.label_names):,}."
            )
        return fold(model, self.node, classes=self.classes, placement=Placement(), **options)

    def _write_label_names(self, folded, folder):
        """Path of a file with the name of each column, None where there are no names."""
        if self.label_names is None:
            return None
        path = os.path.join(folder, LABEL_NAMES_FILE)
        with files.write_file(path) as file:
            file.write(column_names(self.label_names, folded.classes))
        return path

    def _summary(self, model):
        return {
            "model": to_dict(model.config),
            "segments": model.segments,
            "node": self.node,
            "precision": self.precision,
            "classes": self.classes,
        } | ({"embeddings": self.embeddings} if self.embeddings else {})


@contextlib.contextmanager
def _appearing(output_dir):
    """`files.write_folder` of a folder that must be new."""
    check_new(output_dir)
    with files.write_folder(output_dir) as folder:
        yield folder
        check_new(output_dir)


def check_new(output_dir: str) -> None:
    """Raises `UserError` where there is something at `output_dir` already."""
    if files.exists(output_dir):
        raise UserError(
            f"--output_dir {output_dir} exists: a new folder was expected, for instance of the next version."
        )


def tree_bytes(folder: str) -> int:
    """Bytes of all files under a folder."""
    paths = (os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names)
    # TensorFlow's ram:// lists `assets.extra` as a file of `assets`, too.
    return sum(tf.io.gfile.stat(path).length for path in paths if tf.io.gfile.exists(path))
