"""The losses of a tree of mixtures (Eq. 6 and 7)."""

from keras import ops

from youtube8m_mod.gradients import custom_gradient
from youtube8m_mod.tree import child_path


def binary_cross_entropy(labels, probabilities, label_weights=None):
    """L_bce of Eq. 6: -(y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5)), summed over classes, mean over the batch.

    Args:
        labels, probabilities: `(batch, classes)`.
        label_weights: `(batch, classes)`, 1 where a class was rated: only these count. None: all.
    """
    losses = -(labels * ops.log(probabilities + 1e-5) + (1 - labels) * ops.log(1 - probabilities + 1e-5))
    if label_weights is not None:
        losses = losses * label_weights
    return ops.mean(ops.sum(losses, axis=1))


def distillation(teacher_logits, student_logits, temperature):
    """KL(Soft(teacher, T) || Soft(student, T)), Soft(z, T) = softmax(z / T) (Eq. 6, 7), mean over the batch.

    The gradient flows into the teacher too, as in the original; all classes count, rated or not.

    Args:
        teacher_logits, student_logits: `(batch, classes)`.
        temperature: T > 0.
    """
    return ops.mean(distillation_per_example(teacher_logits, student_logits, temperature))


def distillation_per_example(teacher_logits, student_logits, temperature):
    """The KL divergence of `distillation` for each example, `(batch,)`."""
    teacher = ops.softmax(teacher_logits / temperature)
    student = ops.softmax(student_logits / temperature)
    return ops.sum(teacher * (ops.log(teacher + 1e-8) - ops.log(student + 1e-8)), axis=1)


def l2_penalty(weights, scale):
    """scale / 2 * sum of squares over a list of weights."""
    return scale * sum(_half_squared_norm(ops.cast(weight, "float32")) for weight in weights)


@custom_gradient
def _half_squared_norm(weight):
    """|w|^2 / 2. Its gradient is w: one pass over the weights where that of a sum of squares takes four."""
    return ops.sum(ops.square(weight)) / 2, lambda upstream: upstream * weight


def node_losses(output, labels, label_weights=None, temperature=0.0, path=""):
    """The loss terms of one node: its BCE, and the KL from it to each of its children (Eq. 6).

    Args:
        output: a `NodeOutput`; of the children only the logits are used.
        temperature: T; 0: no distillation.
        path: of the node in the tree: "" is the root, "1" its second child, "1/2" the third child of that.

    Returns:
        {"bce": {path: scalar}, "kl": {path of the child: scalar}}.
    """
    kl = {}
    if temperature:
        kl = {
            child_path(path, index): distillation(output.logits, child.logits, temperature)
            for index, child in enumerate(output.children)
        }
    return {"bce": {path: binary_cross_entropy(labels, output.probabilities, label_weights)}, "kl": kl}


def tree_losses(output, labels, label_weights=None, temperature=0.0, path=""):
    """The loss terms of a node and of all below it, as `node_losses` gives them."""
    terms = node_losses(output, labels, label_weights, temperature, path)
    for index, child in enumerate(output.children):
        below = tree_losses(child, labels, label_weights, temperature, child_path(path, index))
        for kind, values in below.items():
            terms[kind].update(values)
    return terms
