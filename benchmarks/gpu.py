"""Training steps and forward passes on one GPU, through Keras' JAX backend: TensorFlow need not be there.

KERAS_BACKEND=jax python -m benchmarks.gpu [--quick]

A step is scaling of the stored bytes, forward and backward pass of all losses, clipping of each variable's gradient
and Adam, compiled by XLA into one program; the batch lies on the card. "float32" multiplies in TF32, as JAX and
TensorFlow do by default on such cards, "float32 exact" in float32.
"""

import argparse
import functools
import json
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.measure import model_gflop  # noqa: E402
from youtube8m_mod import config, losses  # noqa: E402
from youtube8m_mod.layers.feature_scaling import FeatureScaling  # noqa: E402
from youtube8m_mod.models.mixture import make_node  # noqa: E402
from youtube8m_mod.terminal import format_table  # noqa: E402

PRECISIONS = {  # name: (Keras' policy, JAX's precision of a product)
    "float32 exact": ("float32", "highest"),
    "float32": ("float32", "default"),
    "bfloat16": ("mixed_bfloat16", "default"),
}
CASES = (
    # model, phase, batch size, frames
    ("nextvlad", "pretrain", 80, 300),
    ("nextvlad", "pretrain", 320, 300),
    ("nextvlad", "finetune", 512, 5),
    ("mix_nextvlad", "pretrain", 80, 300),
    ("mod_nextvlad", "pretrain", 80, 300),
    ("mod_nextvlad", "finetune", 512, 5),
)
QUICK = (("nextvlad_tiny", "pretrain", 8, 60), ("mod_nextvlad_tiny", "finetune", 16, 5))


class Case:
    """A model in a phase, with a batch on the device.

    Args:
        model_name, phase_name: of `config`.
        policy: Keras' dtype policy.
    """

    def __init__(self, model_name, phase_name, batch_size, frames, policy):
        keras.utils.set_random_seed(0)
        self.config, self.phase = config.model_config(model_name), config.phase_config(phase_name)
        options = dict(dtype=policy, dropout=self.phase.dropout, seed=iter(range(99)), momentum=0.999)
        shape = (None, frames, self.config.feature_size)
        self.scaling = FeatureScaling(self.config.whitened_size, name="scaling")
        self.root = make_node(self.config, 0, "0", options)
        for layer in (self.scaling, self.root):
            layer.build(shape)
        self.trained = self.root.trainable_variables
        self.others = [*self.scaling.variables, *self.root.non_trainable_variables]
        self.optimizer = keras.optimizers.Adam(self.phase.base_learning_rate, epsilon=1e-8, clipnorm=1.0)
        self.optimizer.build(self.trained)
        random = np.random.default_rng(0)
        self.batch = {
            "features": random.integers(0, 256, (batch_size, frames, self.config.feature_size), np.uint8),
            "num_frames": np.full(batch_size, frames, np.int32),
            "labels": (random.random((batch_size, self.config.num_classes)) < 0.001).astype(np.uint8),
        }
        if self.phase.segments:
            rated = random.random((batch_size, self.config.num_classes)) < 0.002
            self.batch["label_weights"] = rated.astype(np.uint8)
        self.batch = jax.device_put(self.batch)

    def state(self):
        """Copies of all variables: a step takes its arguments' memory for its results."""
        groups = (self.trained, self.others, self.optimizer.variables)
        return jax.tree.map(jnp.copy, [[variable.value for variable in group] for group in groups])

    def loss(self, trained, others, batch):
        """(the sum that is minimised, the other variables after the step)"""
        values = [*zip(self.trained, trained), *zip(self.others, others)]
        with keras.StatelessScope(state_mapping=values) as scope:
            frames = self.scaling(batch["features"], batch["num_frames"])
            output = self.root(frames, batch["num_frames"], training=True)
            terms = losses.tree_losses(output, batch["labels"], batch.get("label_weights"), self.phase)
            terms["l2"] = losses.l2_penalty(self.root.regularized_weights, self.phase.l2_penalty)
            total = losses.total_loss(terms, self.phase)
        return total, [scope.get_current_value(variable) for variable in self.others]

    @functools.cached_property
    def step(self):
        """Function from (state, batch) to (loss, next state)."""

        @functools.partial(jax.jit, donate_argnums=0)
        def step(state, batch):
            trained, others, moments = state
            (loss, others), gradients = jax.value_and_grad(self.loss, has_aux=True)(trained, others, batch)
            trained, moments = self.optimizer.stateless_apply(moments, gradients, trained)
            return loss, [trained, others, moments]

        return step

    @functools.cached_property
    def forward(self):
        """Function from (state, batch) to the root's probabilities."""

        @jax.jit
        def forward(state, batch):
            values = [*zip(self.trained, state[0]), *zip(self.others, state[1])]
            with keras.StatelessScope(state_mapping=values):
                frames = self.scaling(batch["features"], batch["num_frames"])
                return self.root(frames, batch["num_frames"], training=False).probabilities

        return forward


def seconds_of(run, repeats, rounds=5):
    """Median over the rounds of the seconds of a run, `repeats` of which are sent to the device at once."""
    jax.block_until_ready(run())
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(repeats):
            result = run()
        jax.block_until_ready(result)
        seconds.append((time.perf_counter() - started) / repeats)
    return statistics.median(seconds)


def run_case(model_name, phase_name, batch_size, frames, precision, peaks, repeats):
    """The row of a case in a precision."""
    policy, product = PRECISIONS[precision]
    with jax.default_matmul_precision(product):
        case = Case(model_name, phase_name, batch_size, frames, policy)
        state = case.state()
        started = time.perf_counter()
        compiled = case.step.lower(state, case.batch).compile()
        compiling = time.perf_counter() - started
        memory = compiled.memory_analysis()

        def step():
            nonlocal state
            loss, state = compiled(state, case.batch)
            return loss

        first = float(step())

        training = seconds_of(step, repeats)
        last = float(step())
        if not np.isfinite([first, last]).all() or last >= first:
            raise SystemExit(f"{model_name}, {precision}: the loss went from {first} to {last}; expected it to fall")
        scoring = seconds_of(lambda: case.forward(state, case.batch), repeats)
    gflop = batch_size * model_gflop(case.config, frames)
    return {
        "model": model_name,
        "frames": frames,
        "batch": batch_size,
        "precision": precision,
        "step_ms": training * 1e3,
        "examples_per_s": batch_size / training,
        "tflops": 3 * gflop / training / 1e3,
        "of_peak": 3 * gflop / training / 1e3 / peaks[precision],
        "forward_examples_per_s": batch_size / scoring,
        "forward_of_peak": gflop / scoring / 1e3 / peaks[precision],
        "compile_s": compiling,
        "step_gb": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e9,
        "loss": [first, last],
    }


def product_peak(precision, size):
    """TFLOP/s of a large product in a precision."""
    policy, product = PRECISIONS[precision]
    dtype = "bfloat16" if "bfloat16" in policy else "float32"
    left, right = (jax.random.normal(jax.random.key(seed), (size, size)).astype(dtype) for seed in (0, 1))
    with jax.default_matmul_precision(product):
        multiply = jax.jit(jnp.matmul)
        return 2 * size**3 / seconds_of(lambda: multiply(left, right), 10) / 1e12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument(
        "--case", type=int, action="append", choices=range(len(CASES)), help="number of a case (default: all)"
    )
    arguments = parser.parse_args()
    if keras.backend.backend() != "jax":
        raise SystemExit(f"expected KERAS_BACKEND=jax, got {keras.backend.backend()}")
    cases, repeats, size = (QUICK, 2, 256) if arguments.quick else (CASES, 20, 8192)
    peaks = {precision: product_peak(precision, size) for precision in PRECISIONS}
    device = jax.local_devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}, Keras {keras.__version__}")
    print("product of two matrices, TFLOP/s: " + ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()))
    rows = []
    for case in cases if arguments.quick or not arguments.case else [CASES[number] for number in arguments.case]:
        for precision in PRECISIONS:
            rows.append(run_case(*case, precision, peaks, repeats))
            print(json.dumps(rows[-1]), flush=True)
            keras.backend.clear_session()
    print(format_table([{name: value for name, value in row.items() if name != "loss"} for row in rows]))


if __name__ == "__main__":
    main()
