"""Exported models: bytes, latency, rate and difference from the trained model, each as a client meets it.

python -m benchmarks.serving [--quick]
"""

import argparse
import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from benchmarks.inference import set_averages
from youtube8m_mod import config
from youtube8m_mod.data import records
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.inference.folded import fold
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.serving import tflite
from youtube8m_mod.serving.export import Export, tree_bytes
from youtube8m_mod.serving.signatures import Signatures
from youtube8m_mod.terminal import format_table

BATCHES = (1, 64)


def saved_model(model, folder, precision):
    """(name, bytes, function) of a SavedModel, exported and loaded again."""
    path = f"{folder}/{precision}"
    Export(precision=precision).save_model(model, path)
    call = tf.saved_model.load(path).signatures["serving_default"]
    return (
        f"SavedModel {precision}",
        tree_bytes(path),
        lambda frames, count: call(rgb_and_audio=frames, num_frames=count[:, np.newaxis])["predictions"].numpy(),
    )


def tflite_model(model):
    """(name, bytes, function) of a TFLite model with 8-bit weights."""
    content = tflite.convert(Signatures(fold(model, placement=Placement(), kernels_right=True), top_k=1))
    return "TFLite int8", len(content), tflite.predictor(content)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, the tiny model")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    name = "nextvlad_tiny" if arguments.quick else "nextvlad"
    model = MOD.for_phase(config.model_config(name), config.phase_config("finetune"))
    set_averages(model)
    rows, calls = [], {}
    with tempfile.TemporaryDirectory() as folder:
        artefacts = [saved_model(model, folder, precision) for precision in ("float32", "bfloat16")]
        artefacts.append(tflite_model(model))
        batch = measure.batch_of(model.config, max(BATCHES), model.frames, segments=True)
        expected = model(batch).numpy()
        frames, counts = records.dequantize(batch["features"].numpy()), batch["num_frames"].numpy()
        for name, size, call in artefacts:
            rows.append(
                {"artefact": name, "bytes": size, "difference": float(np.abs(call(frames, counts) - expected).max())}
            )
            calls[name] = call
        for batch_size in BATCHES:
            seconds = measure.interleaved(
                {
                    name: lambda call=call: call(frames[:batch_size], counts[:batch_size])
                    for name, call in calls.items()
                },
                5 if arguments.quick else 31,
            )
            for row in rows:
                row[f"ms_batch_{batch_size}"] = 1000 * seconds[row["artefact"]]
                if batch_size == max(BATCHES):
                    row["examples_per_s"] = batch_size / seconds[row["artefact"]]
    print(
        f"{measure.machine()}; {model.config.name}, segments of {model.frames} frames, "
        f"{model.config.num_classes} classes; difference: of a probability, from the trained model"
    )
    print(format_table(rows))
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
