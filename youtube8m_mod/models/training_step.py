"""The losses of a batch and their gradients: each subtree's on the device where it lives (section 3.4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from youtube8m_mod import distillation, losses
from youtube8m_mod.models.batch import labels_of
from youtube8m_mod.models.traced_once import TracedOnce
from youtube8m_mod.tree import NodeOutput, Tensor

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD


class TrainingStep:
    """Forward and backward pass of a `MOD` for a batch.

    Subtrees meet only in their logits. Each has a gradient tape of its own, and so has the root, whose gradients with
    respect to the logits go back to the subtrees: their backward passes run on their devices, as their forward passes.

    Args:
        model: a `MOD`.
        batch: a dict with labels; see `as_batch`. Where the recipe has a `teacher_weight`, with `teacher_logits`
            `(batch, classes)` too.
        share: factor of the losses' sum: of a replica, its share of the whole batch.
    """

    def __init__(self, model: "MOD", batch: dict[str, Tensor], share: Tensor | float = 1.0):
        self.model, self.batch, self.share = model, batch, share
        self.placement, self.recipe = model.placement, model.recipe
        # Functions from a subtree's number: each device in use computes these once.
        self.frames = model.scaled_frames(batch)
        self.labels = self.placement.once_a_device(lambda: labels_of(batch))
        self.trained_teacher = self.placement.once_a_device(self._trained_teacher)
        self.averaged_teacher = self._averaged_teacher()
        self.scored = TracedOnce(model.subtrees, self._scored)

    def losses_and_gradients(self) -> tuple[dict[str, Tensor], list[Tensor], NodeOutput]:
        """The losses, their gradients, and the scores that they are losses of.

        Returns:
            ({name of a term: scalar}, gradients of their weighted sum in the order of `trainable_variables`,
            `NodeOutput` of the root).
        """
        forwards = [self._forward(index) for index in range(len(self.model.subtrees))]
        terms = {name: value for forward in forwards for name, value in forward.terms.items()}
        outputs = [forward.output for forward in forwards]
        if not self.model.config.branching:
            return terms, self._backward(forwards, [None]), outputs[0]
        root_terms, root_gradients, logit_gradients, output = self._root_forward_and_backward(outputs)
        return terms | root_terms, self._backward(forwards, logit_gradients) + root_gradients, output

    def _forward(self, index):
        """Forward pass and own losses of a subtree, under a tape of its own on its device."""
        path, teacher = self.model.subtree_path(index), self.averaged_teacher
        with self.placement.subtree(index), tf.GradientTape() as tape:
            if teacher is not None and self.model.config.branching:
                teacher = teacher.children[index]
            output, terms = self.scored(
                index,
                self.frames(index),
                self.batch.get("num_frames"),
                *self.labels(index),
                teacher,
                self.trained_teacher(index),
            )
            terms = {losses.moved_term_name(name, path): value for name, value in terms.items()}
            terms |= self.model.l2_term(index)
            return _Forward(output, terms, self._total(terms), tape)

    def _scored(self, subtree, frames, num_frames, labels, label_weights, averaged_teacher, teacher_logits):
        """(`NodeOutput` of a subtree, its loss terms, named as if it were the first)."""
        output, path = subtree(frames, num_frames, training=True), self.model.subtree_path(0)
        terms = losses.tree_losses(output, labels, label_weights, self.recipe, path, averaged_teacher)
        if teacher_logits is not None:
            terms |= losses.teacher_losses(output, teacher_logits, label_weights, self.recipe, path)
        # Gradients of the losses come by the terms, those of the root by the logits alone.
        return tf.nest.map_structure(tf.stop_gradient, output)._replace(logits=output.logits), terms

    def _root_forward_and_backward(self, outputs):
        """(loss terms, gradients of the root's mixing net, gradients of the subtrees' logits, `NodeOutput`)."""
        root, logits = self.model.root, [output.logits for output in outputs]
        frames, labels, teacher_logits = self.frames(0), self.labels(0), self.trained_teacher(0)
        with self.placement.root(), tf.GradientTape() as tape:
            tape.watch(logits)
            output = root.mix(frames, outputs, training=True)
            terms = losses.node_losses(output, *labels, self.recipe, teacher=self.averaged_teacher)
            if teacher_logits is not None:
                terms |= losses.teacher_losses(output, teacher_logits, labels[1], self.recipe, below=False)
            total = self._total(terms)
            variables = [variable.value for variable in root.mixing.trainable_variables]
            gradients, logit_gradients = tape.gradient(total, (variables, logits))
        return terms, list(gradients), logit_gradients, output

    def _backward(self, forwards: Sequence["_Forward"], logit_gradients):
        """Gradients of all subtrees' variables: of their own losses, and of what the root asks of their logits."""
        gradients, done = [], {}
        for index, (forward, logit_gradient) in enumerate(zip(forwards, logit_gradients, strict=True)):
            # Backward passes that share a device take turns: gradients of all of them at once fill the memory.
            device = self.placement.device_of(index)
            with self.placement.subtree(index), tf.control_dependencies(done.get(device)):
                variables = [variable.value for variable in self.model.subtrees[index].trainable_variables]
                targets, weights = [forward.total], [tf.ones(())]
                if logit_gradient is not None:
                    targets, weights = [*targets, forward.output.logits], [*weights, logit_gradient]
                with keras.name_scope("gradient_tape"):  # The tape names its operations, but not a function's call.
                    own_gradients = forward.tape.gradient(targets, variables, output_gradients=weights)
                done[device] = [tf.group(own_gradients)]
            gradients += own_gradients
        return gradients

    def _total(self, terms):
        """The weighted sum of loss terms, as it counts in the batch."""
        model, factor = self.model, None
        if model.compiled:
            factor = distillation.schedule(model.optimizer.iterations, self.recipe)
        return self.share * losses.total_loss(terms, self.recipe, factor)

    def _trained_teacher(self):
        """The logits of trained models that teach, `(batch, classes)`; None: not in the recipe."""
        if not self.recipe.teacher_weight:
            return None
        if "teacher_logits" not in self.batch:
            raise ValueError('teacher_weight needs a teacher: expected "teacher_logits" in the batch, got none.')
        return self.batch["teacher_logits"]

    def _averaged_teacher(self):
        """The `NodeOutput` of the root by the averages of the weights, as inference gives it; None: not in the recipe.

        The mean teacher: A. Tarvainen and H. Valpola, NeurIPS 2017, https://arxiv.org/abs/1703.01780; there with noise
        of its own.
        """
        model = self.model
        if not (self.recipe.averaged_teacher and model.compiled):
            return None
        averages = zip(model.trainable_variables, model.optimizer._model_variables_moving_average)
        averaged = [(variable, average.value) for variable, average in averages]
        with keras.StatelessScope(averaged, initialize_variables=False):
            return model.tree(self.batch, training=False)


class _Forward(NamedTuple):
    """What the forward pass of a subtree leaves for its backward pass."""

    output: NodeOutput
    terms: dict
    total: Any
    tape: tf.GradientTape
