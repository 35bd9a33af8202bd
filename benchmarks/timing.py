"""What the benchmarks share: interleaved timing, the machine's peak, operation counts, the table and its JSON lines."""

import json
import os
import platform
import statistics
import time

import numpy as np
import tensorflow as tf

from youtube8m_mod import report


def interleaved(variants, rounds, warm_up=2):
    """Median seconds of a call of each variant, taken in turns so that the machine's moods hit all alike.

    Args:
        variants: dict name -> function without arguments that returns when its work is done.
        rounds: calls of each that count.
        warm_up: calls before them.
    """
    seconds = {name: [] for name in variants}
    for number in range(warm_up + rounds):
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def gemm(dtype=tf.float32, size=2048):
    """A function that multiplies two square matrices, and its GFLOP: the peak that a variant is held against."""
    left, right = (tf.cast(tf.random.stateless_normal((size, size), (0, seed)), dtype) for seed in range(2))
    multiply = tf.function(lambda: tf.reduce_max(tf.matmul(left, right)))
    return lambda: multiply().numpy(), 2 * size**3 / 1e9


def forward_gflop(config, frames, folded=True):
    """GFLOP of the matmuls of one example through all leaves of a NeXtVLAD tree; a training step takes three times it."""
    total, width = 0, 0
    for _, size, groups, clusters in config.streams:
        expanded = int(config.expansion * size)
        read = min(size, expanded) if folded else expanded
        total += 2 * frames * (size * expanded + read * groups * (clusters + 1) + expanded * clusters)
        width += expanded // groups * clusters
    reduced = config.hidden_size // config.gating_reduction
    total += 2 * config.hidden_size * (width + 2 * reduced + config.num_classes)
    return config.num_leaves * total / 1e9


def random_batch(config, batch_size, frames, seed=0, labels=False):
    """A batch of the readers with random bytes and full-length videos; with labels, a rated one a video."""
    rng = np.random.default_rng(seed)
    batch = {"features": rng.integers(0, 256, (batch_size, frames, config.feature_size), np.uint8),
             "num_frames": np.full(batch_size, frames, np.int32),
             "present_frames": np.full(batch_size, frames, np.int32)}
    if labels:
        batch["labels"] = np.zeros((batch_size, config.num_classes), np.uint8)
        batch["labels"][np.arange(batch_size), rng.integers(0, config.num_classes, batch_size)] = 1
        batch["label_weights"] = batch["labels"]
    return {key: tf.constant(value) for key, value in batch.items()}


def randomize_norms(model, seed=0):
    """Gives a fresh model batch-norm averages, offsets and a PCA scale as training leaves them: not 0 and 1."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rsplit("/", 1)[-1]
        if name in ("gamma", "moving_variance", "scale"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))


def describe_machine():
    """One line: processor, cores, TensorFlow."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")]
    return f"{model}, {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}, TensorFlow {tf.__version__}"


def case_row(case, baseline_s, ours_s, gflop, peak_gflops):
    """The row of a case, as its JSON line has it; `gflop` is what one call of ours computes."""
    return {"case": case, "baseline_s": round(baseline_s, 5), "ours_s": round(ours_s, 5),
            "ratio": round(baseline_s / ours_s, 3), "gflops": round(gflop / ours_s, 1),
            "peak_gflops": round(peak_gflops, 1)}


def print_rows(rows):
    """The JSON line of each row, then the table."""
    for row in rows:
        print(json.dumps(row), flush=True)
    print("\n" + describe_machine())
    print(report.format_table(rows, {"case": "case", "baseline_s": "baseline s", "ours_s": "ours s", "ratio": "ratio",
                                     "gflops": "GFLOP/s", "peak_gflops": "peak GFLOP/s"}, markdown=True))
