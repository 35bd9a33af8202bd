"""Names of the original TensorFlow 1 code's variables for the weights of our layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from youtube8m_mod.layers.logit_mixing import LogitMixing
    from youtube8m_mod.layers.nextvlad import NeXtVLAD
    from youtube8m_mod.models.mixture import Mixture
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.models.nextvlad import DBoFModel, NeXtVLADModel


def _norm(layer, scope):
    return {f"{scope}/{name}": getattr(layer, name) for name in ("gamma", "beta", "moving_mean", "moving_variance")}


def pooling_variables(layer: NeXtVLAD, scope: str) -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `NeXtVLAD` layer in a variable scope."""
    return {
        f"{scope}/fully_connected/weights": layer.expansion_kernel,
        f"{scope}/fully_connected/biases": layer.expansion_bias,
        f"{scope}/fully_connected_1/weights": layer.attention_kernel,
        f"{scope}/fully_connected_1/biases": layer.attention_bias,
        f"{scope}/cluster_weights": layer.assignment_kernel,
        f"{scope}/cluster_weights2": layer.centers,
        **_norm(layer.assignment_norm, f"{scope}/cluster_bn"),
        **_norm(layer.output_norm, f"{scope}/vlad_bn"),
    }


def leaf_variables(leaf: NeXtVLADModel, scope: str, suffix: str = "vlad") -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `NeXtVLADModel`; `suffix` is "vlad" in a mixture, "VLAD" in the single model."""
    names = {}
    for pooling, stream in zip(leaf.poolings, ("video", "audio")):
        names |= pooling_variables(pooling, f"{scope}/{stream}_{suffix}")
    return names | {
        f"{scope}/hidden1_weights": leaf.hidden.kernel,
        **_norm(leaf.hidden_norm, f"{scope}/hidden1_bn"),
        f"{scope}/gating_weights_1": leaf.gating.squeeze,
        **_norm(leaf.gating.norm, f"{scope}/gating_bn"),
        f"{scope}/gating_weights_2": leaf.gating.excite,
        f"{scope}/fully_connected/weights": leaf.classifier.kernel,
        f"{scope}/fully_connected/biases": leaf.classifier.bias,
    }


def mixing_variables(mixing: LogitMixing, scope: str) -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `LogitMixing` layer."""
    return {
        **_norm(mixing.norm, f"{scope}/mix_weights_bn"),
        f"{scope}/mix_weights/weights": mixing.kernel,
        f"{scope}/mix_weights/biases": mixing.bias,
    }


def mixture_variables(mixture: Mixture, scope: str) -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `Mixture` of leaves."""
    names = mixing_variables(mixture.mixing, scope)
    for index, leaf in enumerate(mixture.nodes):
        names |= leaf_variables(leaf, f"{scope}/branch_{index}")
    return names


def tree_variables(model: MOD, leaf_towers: bool = False) -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `MOD`: a single model, a mixture of leaves, or a mixture of such mixtures.

    The original keeps a root net over its towers even where there is one tower; a tree of ours has none there.

    Args:
        leaf_towers: the leaves of a mixture are towers of their own, below the root net: what the original makes of
            its single model where it sees several GPUs. False: they are the branches of one tower.
    """
    depth = len(model.config.branching)
    if depth == 0:
        return leaf_variables(model.root, "tower_0", suffix="VLAD")
    if depth == 1 and not leaf_towers:
        return mixture_variables(model.root, "tower_0")
    if depth > 2:
        raise ValueError(f"The original has two levels of mixtures at most, got {depth}.")
    names = mixing_variables(model.root.mixing, "ensemble")
    for index, subtree in enumerate(model.subtrees):
        names |= (
            mixture_variables(subtree, f"tower_{index}")
            if depth == 2
            else leaf_variables(subtree, f"tower_{index}", suffix="VLAD")
        )
    return names


def dbof_variables(leaf: DBoFModel, scope: str) -> dict[str, keras.Variable]:
    """{TF1 name: variable} of a `DBoFModel`, as the starter code names them."""
    return {
        **_norm(leaf.bag.input_norm, f"{scope}/input_bn"),
        f"{scope}/cluster_weights": leaf.bag.cluster_kernel,
        **_norm(leaf.bag.cluster_norm, f"{scope}/cluster_bn"),
        f"{scope}/hidden1_weights": leaf.bag.hidden_kernel,
        **_norm(leaf.bag.hidden_norm, f"{scope}/hidden1_bn"),
        f"{scope}/gates/weights": leaf.classifier.gate_kernel,
        f"{scope}/experts/weights": leaf.classifier.expert_kernel,
        f"{scope}/experts/biases": leaf.classifier.expert_bias,
    }
