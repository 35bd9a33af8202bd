"""Models in the sizes and with the weights of a golden case."""

import numpy as np
from keras import ops

from youtube8m_mod.config import ModelConfig, PhaseConfig
from youtube8m_mod.tf1 import variable_names

EVAL = dict(absolute=1e-5)  # What the golden set supports, of probabilities and all that is no larger.
TRAIN = dict(relative=1e-4)  # Tiny batches make batch norm ill-conditioned.
NORMS = dict(each=1e-3)
KL = dict(relative=1e-4)  # float32 cancels in the original.
# 4e-5 in a logit changes its probability by 1e-5 at the most.
EVAL_LOGITS = dict(absolute=4e-5, relative=1e-5)


def feature_sizes(info):
    """Widths of the streams of a case, from its variables."""

    def size(stream):
        return next(
            shape[0] for name, shape in info["variables"] if f"{stream}_vlad/fully_connected/weights" in name.lower()
        )

    return size("video"), size("audio")


def model_config(info, branching):
    return ModelConfig(
        "golden",
        branching=branching,
        feature_sizes=feature_sizes(info),
        num_classes=info["vocab"],
        groups=info["groups"],
        clusters=info["clusters"],
        expansion=info["expansion"],
        hidden_size=info["hidden"],
        gating_reduction=info["gating_reduction"],
        max_frames=info["frames"],
    )


def phase_config(info, temperature=0.0, distillation_weight=None, **kwargs):
    """The phase of a case: no dropout, and the original's accidents with it."""
    return PhaseConfig(
        "golden",
        segments=info["segment"],
        batch_size=info["batch"],
        num_epochs=1,
        max_steps=None,
        dropout=0.0,
        l2_penalty=info["l2_penalty"],
        temperature=temperature,
        distillation_weight=distillation_weight,
        original_accidents=True,
        **kwargs,
    )


def assign(variables, info, golden, prefix):
    """Gives `variables` ({TF1 name: variable}) the recipe's values; the names must be those of the case."""
    assert set(variables) == {name for name, _ in info["variables"]}
    for name, shape in info["variables"]:
        variables[name].assign(golden.variable(prefix, name, shape))


def mod_model(info, branching, golden, prefix, **phase):
    from youtube8m_mod.models.mod import MOD  # The only TensorFlow here: other backends use the rest.

    model = MOD.for_phase(model_config(info, branching), phase_config(info, **phase))
    variables = variable_names.tree_variables(model)
    assign(variables, info, golden, prefix)
    return model, variables


def frames(info, golden, prefix, key="model_input", width=None):
    shape = (info["batch"], info["frames"], width or sum(feature_sizes(info)))
    return golden.normal(f"{prefix}/input/{key}", shape)


def num_frames(info):
    """What the original's mask sees: nothing for segments."""
    return None if info["segment"] else np.array(info["num_frames"], np.int32)


def norms(gradients):
    return np.array([np.linalg.norm(ops.convert_to_numpy(gradient).astype(np.float64)) for gradient in gradients])


def meaningful(names, training):
    """Which gradients are more than rounding errors: in training a batch norm further on undoes these shifts."""
    return np.array([not (training and name.endswith(("vlad_bn/beta", "input_bn/beta"))) for name in names])
