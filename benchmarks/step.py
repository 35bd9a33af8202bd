"""Training steps, ours against a plain transliteration of the equations, in turn in one process.

python -m benchmarks.step [--quick]
"""

import argparse
import gc

import keras
import tensorflow as tf

from benchmarks import measure
from benchmarks.baseline import baseline_of
from youtube8m_mod import config
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training.optimizer import optimizer_of

CASES = (
    # name, model, phase, batch size, frames
    ("segments, batch 64", "nextvlad", "finetune", 64, 5),
    ("mixture of 3, segments, batch 32", "mix_nextvlad", "finetune", 32, 5),
    ("300 frames, batch 8", "nextvlad", "pretrain", 8, 300),
)


def our_step(model, phase):
    """The training step that the trainer takes."""
    model.compile(optimizer_of(phase))
    step = model.placement.step(model.train_step)
    return lambda batch: step(batch)["loss"]


def run_case(name, model_name, phase_name, batch_size, frames, precision, repeats, peak, agree):
    """One row: the baseline in float32 and our step in `precision`, in turn."""
    keras.utils.set_random_seed(0)
    model_config = config.model_config(model_name)
    # Without dropout both have the same loss; the work is the same but for a random mask.
    phase = config.phase_config(phase_name, {"batch_size": batch_size, "dropout": 0.0})
    batch = measure.batch_of(model_config, batch_size, frames, phase.segments)
    model = MOD.for_phase(model_config, phase, dtype="float32" if precision == "float32" else "mixed_bfloat16")
    baseline = baseline_of(model, phase, batch)
    ours, theirs = our_step(model, phase), tf.function(baseline.train_step)
    losses = [float(step(batch)) for step in (theirs, ours)]
    difference = abs(losses[1] / losses[0] - 1)
    if difference > agree:
        raise SystemExit(f"{name}, {precision}: the losses {losses} differ by {difference:.2g}, allowed {agree:g}")
    seconds = measure.interleaved(
        {"baseline": lambda: theirs(batch).numpy(), "ours": lambda: ours(batch).numpy()}, repeats
    )
    gflops = 3 * batch_size * measure.model_gflop(model_config, frames) / seconds["ours"]
    return {
        "case": f"training, {name}, {precision}",
        "baseline_s": seconds["baseline"],
        "ours_s": seconds["ours"],
        "ratio": seconds["baseline"] / seconds["ours"],
        "examples_per_s": batch_size / seconds["ours"],
        "gflops": gflops,
        "peak_gflops": peak,
        "loss_difference": difference,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, only the single model on segments")
    arguments = parser.parse_args()
    peaks = {precision: measure.matmul_peak(precision) for precision in ("float32", "bfloat16")}
    rows = []
    for case in CASES[:1] if arguments.quick else CASES:
        for precision, agree in (("float32", 1e-4), ("bfloat16", 2e-2)):
            rows.append(run_case(*case, precision, 3 if arguments.quick else 9, peaks[precision], agree))
            keras.backend.clear_session()
            gc.collect()
    measure.show(rows)


if __name__ == "__main__":
    main()
