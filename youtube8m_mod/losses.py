"""The losses of a tree of mixtures (Eq. 6 and 7)."""

from collections.abc import Iterable, Mapping, Sequence

from keras import ops

from youtube8m_mod import distillation
from youtube8m_mod.config import Recipe
from youtube8m_mod.gradients import custom_gradient
from youtube8m_mod.tree import NodeOutput, Tensor, child_path, level_of


def binary_cross_entropy(labels: Tensor, probabilities: Tensor, label_weights: Tensor | None = None) -> Tensor:
    """L_bce of Eq. 6: -(y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5)), summed over classes, mean over the batch.

    Args:
        labels, probabilities: `(batch, classes)`.
        label_weights: `(batch, classes)`, 1 where a class was rated: only these count. None: all.
    """
    probabilities = ops.convert_to_tensor(probabilities)
    labels = ops.cast(labels, probabilities.dtype)
    losses = -(labels * ops.log(probabilities + 1e-5) + (1 - labels) * ops.log(1 - probabilities + 1e-5))
    if label_weights is not None:
        losses = losses * ops.cast(label_weights, losses.dtype)
    return ops.mean(ops.sum(losses, axis=1))


def l2_penalty(weights: Iterable[Tensor], scale: float) -> Tensor:
    """scale / 2 * sum of squares over a list of weights."""
    return scale * sum(_half_squared_norm(ops.cast(weight, "float32")) for weight in weights)


@custom_gradient
def _half_squared_norm(weight):
    """|w|^2 / 2. Its gradient is w: one pass over the weights where that of a sum of squares takes four."""
    return ops.sum(ops.square(weight)) / 2, lambda upstream: upstream * weight


def term_name(kind: str, path: str) -> str:
    """Name of a loss term: "bce/1/2": the BCE of a node, "kl/1/2": the distillation into it, "bce": the root's BCE."""
    return f"{kind}/{path}" if path else kind


def split_term_name(name: str) -> tuple[str, str]:
    """(kind, path) of a term's name."""
    kind, _, path = name.partition("/")
    return kind, path


def moved_term_name(name: str, path: str) -> str:
    """The name of a term of a node below the root, were its first ancestor there another: "1" or "" where none is."""
    kind, own = split_term_name(name)
    return term_name(kind, "/".join(filter(None, [path, *own.split("/")[1:]])))


def distillation_term(
    output: NodeOutput,
    index: int,
    recipe: Recipe,
    level: int,
    label_weights: Tensor | None = None,
    teacher: NodeOutput | None = None,
) -> Tensor:
    """The distillation loss from a node into one of its children, mean over the batch, before its weight.

    Args:
        output: the `NodeOutput` of the node.
        index: of the child.
        recipe: a `Recipe`, which says what the child learns; by default Eq. 6 and 7.
        level: depth of the child in the tree.
        label_weights: `(batch, classes)`, 1 where a class was rated; None: all were.
        teacher: what teaches in the node's place: its `NodeOutput` by other weights; None: the node itself.
    """
    teacher = output if teacher is None else teacher
    return ops.mean(
        distillation.distillation_per_example(
            teacher.logits,
            output.children[index].logits,
            teacher.weights,
            index,
            recipe,
            level,
            label_weights,
            teacher.children[index].logits,
        )
    )


def node_losses(
    output: NodeOutput,
    labels: Tensor,
    label_weights: Tensor | None = None,
    recipe: Recipe = Recipe(),
    path: str = "",
    teacher: NodeOutput | None = None,
) -> dict[str, Tensor]:
    """The loss terms of one node: its BCE, and the distillation from it into each of its children (Eq. 6).

    Args:
        output: a `NodeOutput`; of the children only the logits are used.
        labels, label_weights: as in `binary_cross_entropy`.
        recipe: a `Recipe`.
        path: of the node in the tree: "" is the root, "1" its second child, "1/2" the third child of that.
        teacher: see `distillation_term`.

    Returns:
        {name: scalar}: "bce/<path>", and "kl/<path of a child>" before its weight; see `term_name`.
    """
    terms = {term_name("bce", path): binary_cross_entropy(labels, output.probabilities, label_weights)}
    level = level_of(path) + 1
    if recipe.temperature_at(level):
        for index in range(len(output.children)):
            name = term_name("kl", child_path(path, index))
            terms[name] = distillation_term(output, index, recipe, level, label_weights, teacher)
    return terms


def tree_losses(
    output: NodeOutput,
    labels: Tensor,
    label_weights: Tensor | None = None,
    recipe: Recipe = Recipe(),
    path: str = "",
    teacher: NodeOutput | None = None,
) -> dict[str, Tensor]:
    """The loss terms of a node and of all below it, as `node_losses` gives them."""
    terms = node_losses(output, labels, label_weights, recipe, path, teacher)
    for index, child in enumerate(output.children):
        below = None if teacher is None else teacher.children[index]
        terms |= tree_losses(child, labels, label_weights, recipe, child_path(path, index), below)
    return terms


def teacher_losses(
    output: NodeOutput,
    teacher_logits: Tensor,
    label_weights: Tensor | None = None,
    recipe: Recipe = Recipe(),
    path: str = "",
    below: bool = True,
) -> dict[str, Tensor]:
    """What trained models teach a node and all below it: as the labels, they teach every node.

    Args:
        output: a `NodeOutput`.
        teacher_logits: `(batch, classes)`, the mean logits of the models.
        label_weights: `(batch, classes)`, 1 where a class was rated; None: all were.
        recipe: a `Recipe`.
        path: of the node in the tree.
        below: False: the node alone.

    Returns:
        {"teacher/<path>": scalar}, means over the batch of `distillation.teaching_per_example`.
    """
    taught = distillation.teaching_per_example(teacher_logits, output.logits, recipe, label_weights)
    terms = {term_name("teacher", path): ops.mean(taught)}
    for index, child in enumerate(output.children if below else ()):
        terms |= teacher_losses(child, teacher_logits, label_weights, recipe, child_path(path, index))
    return terms


def term_names(branching: Sequence[int], recipe: Recipe | None = None) -> list[str]:
    """Names of all loss terms of a tree, subtrees' L2 penalties among them.

    Args:
        branching: children of a node, level by level from the root.
        recipe: a `Recipe`, which may have no distillation at a level; None: all terms that there can be.
    """
    levels = [[""]]
    for children in branching:
        levels.append([child_path(path, index) for path in levels[-1] for index in range(children)])
    names = [term_name("bce", path) for paths in levels for path in paths]
    for level, paths in enumerate(levels[1:], 1):
        if recipe is None or recipe.temperature_at(level):
            names += [term_name("kl", path) for path in paths]
    if recipe is None or recipe.teacher_weight:
        names += [term_name("teacher", path) for paths in levels for path in paths]
    return names + [term_name("l2", path) for path in levels[1 if branching else 0]]


def total_loss(terms: Mapping[str, Tensor], recipe: Recipe, distillation_factor: Tensor | None = None) -> Tensor:
    """The sum that is minimised: BCE + lambda KL + L2 over all nodes (Eq. 6), and what trained models teach them.

    Args:
        terms: {name: scalar}; see `node_losses`.
        recipe: a `Recipe`.
        distillation_factor: of all lambdas, as `distillation.schedule` gives it; None: 1.
    """
    return sum(_weighted(name, value, recipe, distillation_factor) for name, value in terms.items())


def _weighted(name, value, recipe, distillation_factor=None):
    """A term as it counts in the loss."""
    kind, path = split_term_name(name)
    if kind not in ("kl", "teacher"):
        return value
    weight = recipe.teacher_weight if kind == "teacher" else recipe.distillation_weight_at(level_of(path))
    value = weight * value
    return value if distillation_factor is None else distillation_factor * value


def level_sums(terms: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """What a log shows of the terms.

    Returns:
        {"loss": their weighted sum, "bce_level_<n>", "kl_level_<n>", "teacher_level_<n>": sums over the nodes of a
        level, level 0 being the root, the distillation before its weight; "l2"}.
    """
    shown_terms = {"loss": [_weighted(name, value, recipe) for name, value in terms.items()]}
    for name in sorted(terms, key=lambda name: (split_term_name(name)[0], level_of(split_term_name(name)[1]))):
        kind, path = split_term_name(name)
        shown = "l2" if kind == "l2" else f"{kind}_level_{level_of(path)}"
        shown_terms.setdefault(shown, []).append(terms[name])
    # No chain of additions: TensorFlow's graph optimiser reorders one, and not in each process alike.
    return {shown: ops.sum(ops.stack(values)) for shown, values in shown_terms.items()}
