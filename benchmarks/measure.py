"""What the benchmarks share: the machine's peak, interleaved timing, and how results are shown.

TensorFlow is imported in functions: benchmarks.gpu runs without it.
"""

import json
import os
import platform
import statistics
import time

import numpy as np

from youtube8m_mod.processor import has_bfloat16
from youtube8m_mod.terminal import format_table


def matmul_peak(precision="float32", seconds=1.0, size=2048):
    """GFLOP/s of a large matrix product through TensorFlow: the limit of everything dense in that precision."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal((size, size)), precision)
    product = tf.function(lambda: tf.matmul(a, a))
    product()
    rates, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        float(product()[0, 0])  # The whole product would take longer to leave a GPU than to be computed.
        rates.append(2 * size**3 / (time.perf_counter() - started) / 1e9)
    return statistics.median(rates)


def interleaved(variants, repeats, warm_up=2):
    """Median seconds of each of {name: function}, run in turn so that a drifting machine touches all alike."""
    for function in variants.values():
        for _ in range(warm_up):
            function()
    seconds = {name: [] for name in variants}
    for _ in range(repeats):
        for name, function in variants.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def model_gflop(config, frames):
    """Forward GFLOP an example of a model, its equations in their direct order: two for a multiply-add."""
    leaf = 0
    pooled = 0
    for _, size, groups, clusters in config.streams:
        width = int(config.expansion * size)
        leaf += frames * width * (size + groups + groups * clusters + clusters)
        pooled += width // groups * clusters
    hidden = config.hidden_size
    leaf += hidden * (pooled + 2 * hidden // config.gating_reduction + config.num_classes)
    return 2 * leaf * config.num_leaves / 1e9


def batch_of(config, batch_size, frames, segments, seed=0):
    """A batch of random bytes in the form that the reader gives."""
    import tensorflow as tf

    random = np.random.default_rng(seed)
    count = tf.fill([batch_size], frames)
    batch = {
        "features": tf.constant(random.integers(0, 256, (batch_size, frames, config.feature_size), np.uint8)),
        "num_frames": count,
        "present_frames": count,
        "labels": tf.constant((random.random((batch_size, config.num_classes)) < 0.001).astype(np.uint8)),
    }
    if segments:
        rated = (random.random((batch_size, config.num_classes)) < 0.002).astype(np.uint8)
        batch["label_weights"] = tf.constant(rated)
    return batch


def machine():
    """The machine in a line, with what bfloat16 rows depend on."""
    import tensorflow as tf

    names = []
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    bfloat16 = {True: "bfloat16 arithmetic", False: "no bfloat16 arithmetic (bfloat16 is slower than float32)"}
    return (
        f"{cpu}, {os.cpu_count()} cores, {bfloat16.get(has_bfloat16(), 'bfloat16 arithmetic unknown')}, "
        f"TensorFlow {tf.__version__}"
    )


def show(rows, notes=()):
    """Prints the table, and one JSON line a case."""
    print(machine())
    print(format_table(rows))
    for note in notes:
        print(note)
    for row in rows:
        print(json.dumps(row))
