"""Writes a trained model for serving (docs/serving.md).

    python -m youtube8m_mod.export --train_dir=<dir> --output_dir=<dir>/<version>

The result is a folded SavedModel that any TensorFlow loads. Before it appears it is loaded in a fresh process, without
this package and on the CPU, and answers recorded requests as the trained model does.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import tempfile
import uuid

import tensorflow as tf

from youtube8m_mod import files, report
from youtube8m_mod.config import to_dict
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.localization.localize import read_class_ids
from youtube8m_mod.models.folded import PRECISIONS, fold
from youtube8m_mod.placement import Placement
from youtube8m_mod.serving.blessing import Recorder, bless, device_strings
from youtube8m_mod.serving.signatures import Signatures, column_names
from youtube8m_mod.serving.warmup import prediction_log
from youtube8m_mod.training.checkpoints import load_model

TOLERANCES = {"float32": 1e-5, "bfloat16": 0.02}  # Largest difference of a probability from the trained model's.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
SUMMARY_FILE = "assets.extra/export.json"
LABEL_NAMES_FILE = "label_names.txt"


@dataclasses.dataclass
class Export:
    """What to export, and how.

    Attributes:
        node: path of the node that answers: "" is the root, "1/2" a leaf of a tree of two levels.
        precision: "float32" or "bfloat16".
        classes: numbers of the classes to score, in the order of the columns; None: all.
        label_names: names of all classes of the vocabulary, or None.
        top_k: classes in an answer of `serialized_examples`.
        model_name: under which the model will be served; for the warm-up requests.
    """

    node: str = ""
    precision: str = "float32"
    classes: list | None = None
    label_names: list | None = None
    top_k: int = 20
    model_name: str = "youtube8m"

    def save_model(self, model, output_dir):
        """Writes the SavedModel of a `MOD` to `output_dir`, a folder that does not exist yet.

        Returns:
            a dict: what was exported, its bytes and its largest difference from the trained model; also written to
            `assets.extra/export.json`.

        Raises:
            UserError: where `output_dir` exists, or the written model fails its blessing; nothing is left then.
        """
        output_dir = output_dir.rstrip("/")
        check_new(output_dir)
        if self.top_k < 1:
            raise UserError(f"top_k must be at least 1, came {self.top_k}.")
        partial = f"{output_dir}.partial-{uuid.uuid4().hex[:8]}"
        try:
            summary = self._save(model, partial)
            files.rename(partial, output_dir)
        except BaseException:
            with contextlib.suppress(Exception):
                files.remove_tree(partial)
            raise
        return summary

    def _save(self, model, folder):
        folded = fold(model, self.node, self.precision, self.classes, Placement())
        with tempfile.TemporaryDirectory() as scratch:
            names_path = None
            if self.label_names is not None:
                check_label_names(self.label_names, model.config.num_classes)
                names_path = os.path.join(scratch, LABEL_NAMES_FILE)
                with files.write_file(names_path) as file:
                    file.write(column_names(self.label_names, folded.classes))
            signatures = Signatures(folded, self.top_k, names_path)
            tf.saved_model.save(signatures, folder, signatures.concrete_functions())
        if devices := device_strings(folder):
            raise UserError(f"The exported model asks for the devices {', '.join(devices)}, none was expected.")

        recorder = Recorder(model, self.node, folded.classes, self.top_k)
        requests = recorder.requests()
        difference = bless(folder, recorder, requests, TOLERANCES[self.precision])
        files.make_dirs(f"{folder}/assets.extra")
        with tf.io.TFRecordWriter(f"{folder}/{WARMUP_FILE}") as writer:
            for request in requests:
                writer.write(prediction_log(self.model_name, request.signature, request.inputs))
        summary = {
            "model": to_dict(model.config), "segments": model.phase.segments, "node": self.node,
            "precision": self.precision, "classes": self.classes, "top_k": signatures.top_k,
            "largest_difference": difference, "weight_bytes": sum(v.dtype.size * v.shape.num_elements()
                                                                  for v in folded.variables)}
        files.write_json(f"{folder}/{SUMMARY_FILE}", summary)
        return summary | {"bytes": tree_bytes(folder)}


def check_new(output):
    """Raises `UserError` where there is something at `output` already."""
    if files.exists(output):
        raise UserError(f"--output_dir {output} exists: a new one was expected, for instance with the next version.")


def check_label_names(names, num_classes):
    if len(names) != num_classes:
        raise UserError(f"The label names must be {num_classes} lines, one a class of the vocabulary, "
                        f"came {len(names)}.")


def tree_bytes(folder):
    """Bytes of all files under a folder."""
    return sum(tf.io.gfile.stat(f"{parent}/{name}").length
               for parent, _, names in tf.io.gfile.walk(folder) for name in names)


def chosen_classes(choice, run, train_dir):
    """The classes that `--classes` asks for; None: all."""
    if choice == "all":
        return None
    if choice != "segment":
        return read_class_ids(choice, run.model.num_classes)
    if run.classes is None:
        raise UserError(f"--classes=segment takes the classes rated in finetuning, but {train_dir} was pretrained: "
                        "name a file of class numbers in place of it.")
    return run.classes


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m youtube8m_mod.export", description=__doc__.split("\n\n")[0])
    parser.add_argument("--train_dir", required=True, help="of the trained model")
    parser.add_argument("--output_dir", required=True, help="new folder; TensorFlow Serving wants a number as its name")
    parser.add_argument("--node", default="", help='"" is the root, "1/2" the third child of the second child')
    parser.add_argument("--precision", default="float32", choices=list(PRECISIONS))
    parser.add_argument("--classes", default="all", help="all, segment (those rated in finetuning), or a file of class "
                        "numbers with the header Index")
    parser.add_argument("--label_names", help="file of the names of all classes, one a line: an asset of the model")
    parser.add_argument("--top_k", type=int, default=20, help="classes in an answer of serialized_examples")
    parser.add_argument("--model_name", default="youtube8m", help="under which the model will be served")
    args = parser.parse_args(argv)
    check_new(args.output_dir)
    names = files.read_text(args.label_names).splitlines() if args.label_names else None
    model, run = load_model(args.train_dir, precision="float32")
    export = Export(args.node, args.precision, chosen_classes(args.classes, run, args.train_dir), names, args.top_k,
                    args.model_name)
    summary = export.save_model(model, args.output_dir)
    print(report.format_table([{
        "model": args.output_dir, "bytes": summary["bytes"], "precision": args.precision,
        "classes": len(export.classes or range(run.model.num_classes)),
        "largest difference": f"{summary['largest_difference']:.1e}"}]))


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
