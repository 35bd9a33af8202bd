"""How fast is the folded model? Against a plain transliteration of the equations (baseline.py), in one process.

    python -m benchmarks.inference [--quick]

A case is a model and a batch. Outputs are compared before anything is timed; the variants then run in turns.
"""

import argparse
import sys

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.baseline import baseline_of
from youtube8m_mod import config
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.models.folded import PRECISIONS, fold
from youtube8m_mod.models.mod import MOD

CASES = (  # name, model, phase, batch size
    ("segments, batch 64", "nextvlad", "finetune", 64),
    ("mixture of 3, segments, batch 32", "mix_nextvlad", "finetune", 32),
    ("300 frames, batch 8", "nextvlad", "pretrain", 8),
)
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.1}  # Largest difference of a logit; logits reach about 5.


def run_case(name, model_name, phase_name, batch_size, rounds):
    """Rows of a case, one a precision."""
    keras.utils.set_random_seed(0)
    model = MOD(config.model_config(model_name), config.phase_config(phase_name))
    timing.randomize_norms(model)
    batch = timing.random_batch(model.config, batch_size, model.frames)
    baseline = baseline_of(model, batch)
    folded = {precision: fold(model, precision=precision) for precision in PRECISIONS}
    expected = model.tree(batch).logits.numpy()
    baseline_difference = np.abs(baseline(batch)[0].numpy() - expected).max()
    if baseline_difference > 1e-4:
        raise UserError(f"{name}: the baseline's logits are off by {baseline_difference:.2g}.")
    for precision, form in folded.items():
        difference = np.abs(form.logits(**batch).numpy() - expected).max()
        print(f"{name}, {precision}: largest difference of a logit {difference:.2g}", file=sys.stderr)
        if difference > TOLERANCE[precision]:
            raise UserError(f"{name}: {precision} logits are off by {difference:.2g}, at most "
                            f"{TOLERANCE[precision]:g} was expected.")
    del model

    predict = tf.function(baseline.predict_step)
    gemms = {precision: timing.gemm(dtype) for precision, dtype in PRECISIONS.items()}
    seconds = timing.interleaved(
        {"baseline": lambda: predict(batch).numpy()}
        | {precision: lambda form=form: form.predict(**batch).numpy() for precision, form in folded.items()}
        | {f"{precision} peak": multiply for precision, (multiply, _) in gemms.items()}, rounds)
    gflop = batch_size * timing.forward_gflop(baseline.config, batch["features"].shape[1])
    return [timing.case_row(f"{name}, {precision}", seconds["baseline"], seconds[precision], gflop,
                            gemms[precision][1] / seconds[f"{precision} peak"]) for precision in folded]


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--rounds", type=int, default=25, help="calls of each variant that count")
    args = parser.parse_args(argv)
    rounds = 5 if args.quick else args.rounds
    rows = []
    for case in CASES:
        rows += run_case(*case, rounds)
        keras.backend.clear_session()
    timing.print_rows(rows)


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
