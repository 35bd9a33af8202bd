"""Inference with the folded model, against a plain transliteration of the equations, in turn in one process.

python -m benchmarks.inference [--quick]
"""

import argparse
import gc

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from benchmarks.baseline import baseline_of
from youtube8m_mod import config
from youtube8m_mod.inference.folded import PRECISIONS, fold
from youtube8m_mod.models.mod import MOD

CASES = (
    # name, model, phase, batch size
    ("segments, batch 64", "nextvlad", "finetune", 64),
    ("mixture of 3, segments, batch 32", "mix_nextvlad", "finetune", 32),
    ("300 frames, batch 8", "nextvlad", "pretrain", 8),
)
AGREE = {"float32": 1e-5, "bfloat16": 0.05}  # Largest difference of a logit; the logits reach about 3.


def folded_gflop(model_config, frames):
    """Forward GFLOP an example where the projections read the frames and not their expansion."""
    saved = sum(
        (int(model_config.expansion * size) - size) * groups * (clusters + 1)
        for _, size, groups, clusters in model_config.streams
        if model_config.expansion > 1
    )
    return measure.model_gflop(model_config, frames) - 2 * frames * saved * model_config.num_leaves / 1e9


def set_averages(model):
    """Gives a fresh model batch-norm averages, offsets and a PCA scale as training leaves them: not 0 and 1."""
    random = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance", "scale"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(random.normal(0, 0.1, variable.shape))


def run_case(name, model_name, phase_name, batch_size, repeats, peaks):
    """The rows of a case, one a precision; outputs are compared before anything is timed."""
    keras.utils.set_random_seed(0)
    phase = config.phase_config(phase_name)
    model = MOD.for_phase(config.model_config(model_name), phase)
    set_averages(model)
    model_config, frames = model.config, model.frames
    batch = measure.batch_of(model_config, batch_size, frames, segments=model.segments)
    baseline = baseline_of(model, phase, batch)
    expected = baseline(batch)[0].numpy()
    inputs = [batch[key] for key in ("features", "num_frames", "present_frames")]
    variants, differences = {"baseline": tf.function(baseline.predict_step)}, {}
    for precision in PRECISIONS:
        folded = fold(model, precision=precision)
        differences[precision] = float(np.abs(folded.logits(*inputs).numpy() - expected).max())
        if not differences[precision] <= AGREE[precision]:
            raise SystemExit(
                f"{name}, {precision}: the logits differ by {differences[precision]:.2g}, allowed {AGREE[precision]:g}"
            )
        variants[precision] = lambda _, folded=folded: folded.predict(*inputs)
    del model
    gc.collect()
    seconds = measure.interleaved(
        {key: lambda variant=variant: variant(batch).numpy() for key, variant in variants.items()}, repeats
    )
    gflop = batch_size * folded_gflop(model_config, frames)
    return [
        {
            "case": f"inference, {name}, {precision}",
            "baseline_s": seconds["baseline"],
            "ours_s": seconds[precision],
            "ratio": seconds["baseline"] / seconds[precision],
            "examples_per_s": batch_size / seconds[precision],
            "gflops": gflop / seconds[precision],
            "peak_gflops": peaks[precision],
            "logit_difference": difference,
        }
        for precision, difference in differences.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, only the single model on segments")
    arguments = parser.parse_args()
    peaks = {precision: measure.matmul_peak(precision) for precision in PRECISIONS}
    rows = []
    for case in CASES[:1] if arguments.quick else CASES:
        rows += run_case(*case, 5 if arguments.quick else 21, peaks)
        keras.backend.clear_session()
        gc.collect()
    measure.show(rows)


if __name__ == "__main__":
    main()
