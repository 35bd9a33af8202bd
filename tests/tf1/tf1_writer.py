"""TensorFlow 1 checkpoints as the original's Saver writes them."""

import os

import numpy as np
import tensorflow as tf

from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tf1 import variable_names

BETA_1, BETA_2 = 0.9, 0.999


def write(folder, values, step=7):
    """Writes {name: array} through a graph's Saver; returns the prefix of the checkpoint."""
    os.makedirs(folder, exist_ok=True)
    with tf.Graph().as_default():
        variables, feed = [], {}
        for name, value in values.items():
            value = np.asarray(value)
            placeholder = tf.compat.v1.placeholder(value.dtype, value.shape)
            variables.append(tf.compat.v1.Variable(placeholder, name=name, use_resource=False))
            feed[placeholder] = value
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer(), feed)
            saver = tf.compat.v1.train.Saver({variable.op.name: variable for variable in variables})
            return saver.save(session, f"{folder}/model.ckpt", global_step=step)


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
