"""TensorFlow 1 checkpoints as the original's Saver writes them."""

import os

import numpy as np
import tensorflow as tf

from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tf1 import variable_names

BETA_1, BETA_2 = 0.9, 0.999


def write(folder, values, step=7):
    """Writes {name: array} by the operation that a graph's Saver consists of; returns the prefix of the checkpoint."""
    os.makedirs(folder, exist_ok=True)
    prefix = f"{folder}/model.ckpt-{step}"
    tensors = [tf.constant(value) for value in values.values()]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=tensors)
    tf.compat.v1.train.update_checkpoint_state(folder, prefix)
    return prefix


def with_optimizer(weights, step=7, earlier_steps=0):
    """The weights with what a training of so many steps keeps: Adam's moments, its powers of beta, the step."""
    random = np.random.default_rng(3)
    values = dict(weights)
    for name, weight in weights.items():
        if not name.endswith(("moving_mean", "moving_variance")):
            values[f"{name}/Adam"] = random.normal(size=weight.shape).astype(np.float32)
            values[f"{name}/Adam_1"] = random.random(weight.shape, np.float32)
    steps = step + earlier_steps + 1
    return values | {
        "beta1_power": np.float32(BETA_1**steps),
        "beta2_power": np.float32(BETA_2**steps),
        "global_step": np.int64(step),
    }


def weights_of(config, leaf_towers=False):
    """{TF1 name: array} of a new model of a `ModelConfig`, with averages that differ from 0 and 1."""
    model = MOD(config)
    random = np.random.default_rng(5)
    names = variable_names.tree_variables(model, leaf_towers)
    return {
        name: random.random(variable.shape, np.float32) if "moving" in name else variable.numpy()
        for name, variable in names.items()
    }


def root_net(width, towers=1):
    """{TF1 name: array} of the original's net over its towers."""
    random = np.random.default_rng(6)
    shapes = {"mix_weights/weights": (width, towers), "mix_weights/biases": (towers,)}
    shapes |= {f"mix_weights_bn/{name}": (width,) for name in ("beta", "gamma", "moving_mean", "moving_variance")}
    return {f"ensemble/{name}": random.random(shape, np.float32) for name, shape in shapes.items()}
