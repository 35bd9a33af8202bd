"""Models in the sizes and with the weights of a golden case."""

import tensorflow as tf

from youtube8m_mod import tf1_names
from youtube8m_mod.config import ModelConfig, PhaseConfig
from youtube8m_mod.models.mod import MOD


def model_config(info, branching):
    return ModelConfig("golden", branching=branching, num_classes=info["vocab"], groups=info["groups"],
                       clusters=info["clusters"], expansion=info["expansion"], hidden_size=info["hidden"],
                       gating_reduction=info["gating_reduction"], max_frames=info["frames"])


def phase_config(info, temperature=0.0, distillation_weight=None, **kwargs):
    """The phase of a case: no dropout, and the original's accidents with it."""
    return PhaseConfig("golden", segments=info["segment"], batch_size=info["batch"], num_epochs=1, max_steps=None,
                       dropout=0.0, l2_penalty=info["l2_penalty"], temperature=temperature,
                       distillation_weight=distillation_weight, original_accidents=True, **kwargs)


def assign(variables, info, golden, prefix):
    """Gives `variables` ({TF1 name: variable}) the recipe's values; the names must be those of the case."""
    assert set(variables) == {name for name, _ in info["variables"]}
    for name, shape in info["variables"]:
        variables[name].assign(golden.variable(prefix, name, shape))


def mod_model(info, branching, golden, prefix, **phase):
    model = MOD(model_config(info, branching), phase_config(info, **phase))
    variables = tf1_names.tree_variables(model)
    assign(variables, info, golden, prefix)
    return model, variables


def frames(info, golden, prefix, key="model_input"):
    return golden.normal(f"{prefix}/input/{key}", (info["batch"], info["frames"], 1152))


def num_frames(info):
    """What the original's mask sees: nothing for segments."""
    return None if info["segment"] else tf.constant(info["num_frames"])
