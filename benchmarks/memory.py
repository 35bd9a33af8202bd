"""How much memory does each configuration need, and how fast does it run?

    python -m benchmarks.memory [--case=<part of a name>] [--steps=5] [--quick]

Each case is a process of its own: a model with random weights (and Adam, in training) takes steps on random examples.
Peak memory is that of the whole process (its largest resident set), seconds a step the median after the first.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.terminal import format_table

# (model, segments, batch size, training, logical CPUs, precision)
CASES = [
    ("nextvlad", True, 64, True, 1, "float32"),
    ("nextvlad", False, 8, True, 1, "float32"),
    ("nextvlad", False, 80, True, 1, "float32"),
    ("mix_nextvlad", True, 64, True, 1, "float32"),
    ("mix_nextvlad", False, 8, True, 1, "float32"),
    ("nextvlad_large", True, 64, True, 1, "float32"),
    ("mod_nextvlad", True, 64, True, 1, "float32"),
    ("mod_nextvlad", True, 64, True, 4, "float32"),
    ("mod_nextvlad", True, 64, True, 1, "mixed_bfloat16"),
    ("nextvlad", True, 64, False, 1, "float32"),
    ("nextvlad", False, 8, False, 1, "float32"),
    ("mix_nextvlad", True, 64, False, 1, "float32"),
    ("mod_nextvlad", True, 64, False, 1, "float32"),
]


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--case", default="", help="only cases whose name holds this")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each case")
    parser.add_argument("--quick", action="store_true", help="tiny models")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args(argv)
    if settings.child is not None:
        print(json.dumps(run_case(CASES[settings.child], settings.steps, settings.quick)))
        return 0
    rows = []
    for index, case in enumerate(CASES):
        if settings.case not in name_of(case):
            continue
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", f"--child={index}", f"--steps={settings.steps}"]
            + ["--quick"] * settings.quick,
            stdout=subprocess.PIPE,
            text=True,
        )
        if child.returncode:
            raise UserError(f"The case {name_of(case)} ended with code {child.returncode}.")
        rows.append({"case": name_of(case), **json.loads(child.stdout.splitlines()[-1])})
        print(json.dumps(rows[-1]), flush=True)
    print(format_table(rows))
    return 0


def name_of(case):
    model, segments, batch_size, training, cpus, precision = case
    frames = "5 frames" if segments else "300 frames"
    devices = f", {cpus} logical CPUs" if cpus > 1 else ""
    return f"{'train' if training else 'infer'} {model}, {frames}, batch {batch_size}, {precision}{devices}"


def run_case(case, steps, quick):
    """Figures of one case, in this process."""
    import keras
    import tensorflow as tf

    from benchmarks.measure import batch_of
    from youtube8m_mod import config
    from youtube8m_mod.distribution.placement import make_placement
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.training.optimizer import FusedAdam

    name, segments, batch_size, training, cpus, precision = case
    started = time.monotonic()
    placement = make_placement(logical_cpus=cpus)
    model_config = config.model_config(f"{name}_tiny" if quick else name)
    phase = config.phase_config("finetune" if segments else "pretrain", {"batch_size": batch_size})
    keras.utils.set_random_seed(0)
    model = MOD.for_phase(model_config, phase, placement, precision)
    batch = batch_of(model_config, batch_size, model.frames, model.segments)
    if training:
        model.compile(FusedAdam(2e-4))
        train = placement.step(model.train_step)

        def step(values):
            return train(values)["loss"]
    else:
        step = tf.function(lambda values: model(values), autograph=False)
    step(batch).numpy()
    first = time.monotonic() - started
    seconds = []
    for _ in range(steps):
        before = time.monotonic()
        step(batch).numpy()
        seconds.append(time.monotonic() - before)
    return {
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "s to first step": first,
        "s a step": statistics.median(seconds),
        "examples/s": batch_size / statistics.median(seconds),
    }


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
