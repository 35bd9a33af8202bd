"""What a node teaches its children (Eq. 6 and 7), and the alternatives to it: one function an idea.

The default of a `Recipe` is the paper's: `softmax_divergence` of all classes, with its gradient into the teacher too.
"""

import math

from keras import ops

from youtube8m_mod.config import Recipe
from youtube8m_mod.tree import Tensor

KINDS = ("softmax", "binary", "relation")


def softmax_divergence(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float, classes: Tensor | None = None
) -> Tensor:
    """KL(Soft(teacher, T) || Soft(student, T)), Soft(z, T) = softmax(z / T) (Eq. 6, 7).

    Args:
        teacher_logits, student_logits: `(batch, classes)`.
        temperature: T > 0.
        classes: `(batch, classes)` or `(1, classes)`, 1 in the classes that the softmax runs over; None: all.

    Returns:
        `(batch,)`.
    """

    def soft(logits):
        logits = logits / temperature
        if classes is not None:
            logits = ops.where(classes > 0, logits, ops.full_like(logits, -1e9))
        return ops.softmax(logits)

    teacher, student = soft(teacher_logits), soft(student_logits)
    return ops.sum(teacher * (ops.log(teacher + 1e-8) - ops.log(student + 1e-8)), axis=1)


def binary_divergence(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float, classes: Tensor | None = None
) -> Tensor:
    """sum_c KL(Bern(sigmoid(z_t / T)) || Bern(sigmoid(z_s / T))), for labels that do not exclude each other.

    With s(z) = log(1 + e^z), the divergence of a class is p_t (z_t - z_s) + s(z_s) - s(z_t) (logits over T), which
    needs no small constant. Multi-label logit distillation: P. Yang et al., ICCV 2023, https://arxiv.org/abs/2308.06453.

    Arguments and result as of `softmax_divergence`.
    """
    teacher, student = teacher_logits / temperature, student_logits / temperature
    terms = ops.sigmoid(teacher) * (teacher - student) + ops.softplus(student) - ops.softplus(teacher)
    return ops.sum(terms if classes is None else terms * classes, axis=1)


def relation_divergence(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float, classes: Tensor | None = None
) -> Tensor:
    """1 - Pearson's correlation of probabilities, over the classes of an example and over the batch of a class.

    The sum of both, the second as its mean over classes; probabilities are sigmoid(z / T). DIST: T. Huang et al.,
    NeurIPS 2022, https://arxiv.org/abs/2205.10536 (there of softmax probabilities).

    Arguments and result as of `softmax_divergence`. The second part is the same for all examples.
    """
    teacher, student = ops.sigmoid(teacher_logits / temperature), ops.sigmoid(student_logits / temperature)
    weights = ops.ones_like(teacher) if classes is None else classes * ops.ones_like(teacher)
    within = 1 - _correlation(teacher, student, weights, axis=1)  # (B,)
    between = 1 - _correlation(teacher, student, weights, axis=0)  # (C,)
    present = ops.cast(ops.sum(weights, axis=0) > 0, between.dtype)
    return within + ops.sum(present * between) / ops.maximum(ops.sum(present), 1.0)


def _correlation(x, y, weights, axis):
    total = ops.maximum(ops.sum(weights, axis=axis, keepdims=True), 1.0)

    def centred(values):
        return weights * (values - ops.sum(weights * values, axis=axis, keepdims=True) / total)

    x, y = centred(x), centred(y)
    squares = ops.sum(ops.square(x), axis=axis) * ops.sum(ops.square(y), axis=axis)
    return ops.sum(x * y, axis=axis) * ops.rsqrt(squares + 1e-16)


_DIVERGENCES = dict(zip(KINDS, (softmax_divergence, binary_divergence, relation_divergence)))


def standardized(logits: Tensor) -> Tensor:
    """(z - mean) / standard deviation over the classes of an example: only their relations are taught.

    Logit standardisation: S. Sun et al., CVPR 2024, https://arxiv.org/abs/2403.01427.
    """
    centred = logits - ops.mean(logits, axis=1, keepdims=True)
    return centred * ops.rsqrt(ops.mean(ops.square(centred), axis=1, keepdims=True) + 1e-14)


def without_child(mixed_logits: Tensor, child_logits: Tensor, weights: Tensor, index: int) -> Tensor:
    """The mixture of the other children: (z - w_i z_i) / (1 - w_i), so that a child does not teach itself.

    As in OKDDip, where a student learns from its peers only: D. Chen et al., AAAI 2020,
    https://arxiv.org/abs/1912.00350.

    Args:
        mixed_logits, child_logits: `(batch, classes)`.
        weights: `(batch, children)`, the mixing weights.
        index: of the child.
    """
    share = weights[:, index, None]
    return (mixed_logits - share * child_logits) / ops.maximum(1 - share, 1e-3)


def chosen_classes(choice: str, teacher_logits: Tensor, label_weights: Tensor | None = None) -> Tensor | None:
    """The classes that are distilled, as a mask `(batch, classes)` or `(1, classes)`; None: all.

    Args:
        choice: a `Recipe`'s `distilled_classes`: "all"; "rated" or "unrated", by the label weights; "top:<m>", the
            teacher's best m classes of each example; or the numbers of the classes, "3,17,20".
        teacher_logits: `(batch, classes)`.
        label_weights: `(batch, classes)`, 1 where a class was rated; None: all were.
    """
    if choice == "all":
        return None
    num_classes = teacher_logits.shape[1]
    if choice in ("rated", "unrated"):
        rated = (
            ops.ones_like(teacher_logits) if label_weights is None else ops.cast(label_weights, teacher_logits.dtype)
        )
        return rated if choice == "rated" else 1 - rated
    if choice.startswith("top:"):
        count = min(int(choice.removeprefix("top:")), num_classes)
        worst = ops.min(ops.top_k(ops.stop_gradient(teacher_logits), count, sorted=False)[0], axis=1, keepdims=True)
        return ops.cast(teacher_logits >= worst, teacher_logits.dtype)
    listed = {int(number) for number in choice.split(",")}
    return ops.cast([[float(number in listed) for number in range(num_classes)]], teacher_logits.dtype)


def distillation_per_example(
    teacher: Tensor,
    student: Tensor,
    weights: Tensor,
    index: int,
    recipe: Recipe,
    level: int,
    label_weights: Tensor | None = None,
    child_logits: Tensor | None = None,
) -> Tensor:
    """The distillation loss of one teacher and one student for each example, before its weight: `(batch,)`.

    Args:
        teacher, student: logits `(batch, classes)` of a node and of one of its children.
        weights: the node's mixing weights `(batch, children)`.
        index: of the child.
        recipe: a `Recipe`.
        level: depth of the student in the tree.
        label_weights: `(batch, classes)`; see `chosen_classes`.
        child_logits: what the teacher mixes of the child, where it is not `student`: with an averaged teacher.
    """
    classes = chosen_classes(recipe.distilled_classes, teacher, label_weights)
    if recipe.teacher_without_child:
        own = student if child_logits is None else child_logits
        teacher = without_child(teacher, own, weights, index)
    if not recipe.teacher_gradient:
        teacher = ops.stop_gradient(teacher)
    if recipe.standardized_logits:
        teacher, student = standardized(teacher), standardized(student)
    return _DIVERGENCES[recipe.distillation](teacher, student, recipe.temperature_at(level), classes)


def teaching_per_example(
    teacher: Tensor, student: Tensor, recipe: Recipe, label_weights: Tensor | None = None
) -> Tensor:
    """D(z_o / T_o || z / T_o), what trained models teach a node, for each example and before its weight: `(batch,)`.

    D is the recipe's divergence, T_o its `teacher_temperature`, and z_o = sum_m w_m z_m the mean of the logits of the
    models m, which do not change. Offline distillation: G. Hinton et al., 2015, https://arxiv.org/abs/1503.02531, of an
    ensemble whose logits are averaged.

    Args:
        teacher, student: logits `(batch, classes)` of the models and of the node.
        recipe: a `Recipe`.
        label_weights: `(batch, classes)`; see `chosen_classes`.
    """
    teacher = ops.stop_gradient(ops.cast(teacher, student.dtype))
    classes = chosen_classes(recipe.distilled_classes, teacher, label_weights)
    if recipe.standardized_logits:
        teacher, student = standardized(teacher), standardized(student)
    return _DIVERGENCES[recipe.distillation](teacher, student, recipe.teacher_temperature, classes)


def schedule(step: Tensor, recipe: Recipe) -> Tensor | None:
    """The factor of all distillation weights at a step; None where it is always 1.

    It rises as exp(-5 (1 - t / R)^2) over the first R = `distillation_ramp_steps` steps (ONE: X. Lan et al., NeurIPS
    2018, https://arxiv.org/abs/1806.04606), and is 0 from `distillation_last_step` on. An averaged teacher is there
    after the first step only.

    Args:
        step: scalar, steps done so far.
        recipe: a `Recipe`.
    """
    if not (recipe.distillation_ramp_steps or recipe.averaged_teacher) and recipe.distillation_last_step is None:
        return None
    step, factor = ops.cast(step, "float32"), 1.0
    if recipe.averaged_teacher:
        factor = ops.cast(step > 0, "float32")
    if recipe.distillation_ramp_steps:
        left = ops.maximum(1 - step / float(recipe.distillation_ramp_steps), 0.0)
        factor = factor * ops.exp(-5 * left**2)
    if recipe.distillation_last_step is not None:
        factor = factor * ops.cast(step < float(min(recipe.distillation_last_step, math.inf)), "float32")
    return factor
