"""How large a model will be, known before it is built."""

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.errors import UserError
from youtube8m_mod.tree import parse_path

_FLOAT_BYTES = 4


def num_parameters(config: ModelConfig) -> int:
    """Trainable parameters of a `ModelConfig`'s model."""
    leaf = _dbof(config) if config.pooling == "dbof" else _nextvlad(config)
    total, nodes = 0, 1
    for children in config.branching:
        total += nodes * (config.feature_size * (children + 2) + children)
        nodes *= children
    return total + nodes * leaf


def check_memory(config: ModelConfig, copies: int, batch_size: int, frames: int) -> None:
    """Raises `UserError` where a model, or its input alone, cannot fit into this machine's memory.

    Args:
        config: a `ModelConfig`.
        copies: floats for each parameter: 1 for inference, 3 for training with Adam.
        batch_size, frames: of the input.
    """
    memory = _memory()
    weights = num_parameters(config) * copies * _FLOAT_BYTES
    inputs = batch_size * (frames * config.feature_size + config.num_classes) * _FLOAT_BYTES
    if memory and weights + inputs > memory:
        raise UserError(
            f"The model {config.name} needs {_gigabytes(weights)} GB for its weights and "
            f"{_gigabytes(inputs)} GB for the input of a batch; this machine has {_gigabytes(memory)} GB."
        )


def check_memory_together(models: Sequence[ModelConfig], weight_bytes: int = _FLOAT_BYTES) -> None:
    """Raises `UserError` where models that score together cannot all fit into this machine's memory.

    Args:
        models: a `ModelConfig` each.
        weight_bytes: of a number of the large matrices.
    """
    memory, weights = _memory(), sum(map(num_parameters, models)) * weight_bytes
    if memory and weights > memory:
        raise UserError(
            f"The {len(models)} models that score together need {_gigabytes(weights)} GB for their weights; this "
            f"machine has {_gigabytes(memory)} GB."
        )


def below(config: ModelConfig, node: str) -> ModelConfig:
    """The `ModelConfig` of what a node of the tree holds; "" is the root."""
    return dataclasses.replace(config, branching=config.branching[len(parse_path(node, config.branching)) :])


def _memory():
    """Bytes that this machine has; None with GPUs: TensorFlow reports what does not fit into theirs."""
    if tf.config.list_physical_devices("GPU"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gigabytes(size):
    return f"{size // 10**9:,}" if size < 10**18 else "more than a billion"


def _nextvlad(config):
    total, pooled = 0, 0
    for _, size, groups, clusters in config.streams:
        width = int(config.expansion * size)
        group_width = width // groups
        total += (size + 1) * width + (width + 1) * groups + width * groups * clusters  # Expansion and projections.
        total += 2 * groups * clusters + 3 * group_width * clusters  # Batch norms and centres.
        pooled += group_width * clusters
    reduced = config.hidden_size // config.gating_reduction
    hidden = (pooled + 2) * config.hidden_size
    gating = 2 * (config.hidden_size + 1) * reduced
    return total + hidden + gating + (config.hidden_size + 1) * config.num_classes


def _dbof(config):
    size, clusters, hidden = config.feature_size, config.clusters, config.hidden_size
    bag = size * clusters + clusters * hidden + 2 * (size + clusters + hidden)
    experts = config.experts * config.num_classes
    return bag + hidden * (2 * experts + config.num_classes) + experts
