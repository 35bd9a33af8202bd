"""The trainable model: a tree of mixtures with online knowledge distillation (section 3.4)."""

import itertools

import keras
import tensorflow as tf

from youtube8m_mod import losses
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.layers.feature_scaling import FeatureScaling
from youtube8m_mod.models.mixture import Mixture, make_node


class MOD(keras.Model):
    """Scaled features, a tree of mixtures, and the step that trains all its nodes at once.

    The root's children (or the root itself, where it is a leaf) are the subtrees; each lives on a device of its own.
    They meet only in their logits: the step takes one gradient tape a subtree, so that the backward pass of a subtree
    runs on its device too.

    Args:
        config: a `ModelConfig`.
        phase: a `PhaseConfig`: the number of frames, and the regularisation of training.
        placement: a `Placement`; None leaves it to TensorFlow.
        precision: "float32" or "mixed_bfloat16".
        seed: of the dropout (the weights' is `keras.utils.set_random_seed`).

    Call arguments:
        batch: a dict with `features` uint8 or float `(batch, frames, features)`, and optionally `num_frames` and
            `present_frames` `(batch,)`.

    Returns:
        the root's probabilities, float32 `(batch, classes)`.
    """

    def __init__(self, config, phase, placement=None, precision="float32", seed=0):
        super().__init__(name="mod", dtype=precision)
        self.config, self.phase = config, phase
        self.placement = placement or Placement()
        self.frames = SEGMENT_FRAMES if phase.segments else config.max_frames
        accidents = phase.original_accidents
        # The original's mixtures and the starter code's baseline use the fused batch norm, its single model does not.
        unbiased = accidents and (bool(config.branching) or config.pooling == "dbof")
        leaf_options = dict(
            dtype=precision,
            dropout=phase.dropout,
            seed=itertools.count(seed),
            unbiased_moving_variance=unbiased,
            momentum=phase.batch_norm_momentum,
        )
        with self.placement.root():
            self.scaling = FeatureScaling(config.whitened_size, name="scaling")
        if config.branching:
            self.subtrees = []
            for index in range(config.branching[0]):
                with self.placement.subtree(index):
                    self.subtrees.append(make_node(config, 1, str(index), leaf_options))
            with self.placement.root():
                # The original's root net, above its towers, trains without updating its averages.
                momentum = 1.0 if accidents and len(config.branching) > 1 else phase.batch_norm_momentum
                self.root = Mixture(self.subtrees, momentum, name="root", dtype=precision)
        else:
            with self.placement.root():
                self.root = make_node(config, 0, "0", leaf_options)
            self.subtrees = [self.root]
        self.trackers = {name: keras.metrics.Mean(name) for name in self.metric_names}
        self.build()

    def build(self, input_shape=None):
        shape = (None, self.frames, self.config.feature_size)
        for index, subtree in enumerate(self.subtrees):
            with self.placement.subtree(index):
                subtree.build(shape)
        with self.placement.root():
            self.scaling.build(shape)
            if not self.root.built:
                self.root.build(shape)
        self.built = True

    def call(self, batch, training=False):
        return self.tree(batch, training).probabilities

    def tree(self, batch, training=False):
        """The `NodeOutput` of the root for a batch."""
        scaled = self._scaled_frames(batch)
        outputs = []
        for index, subtree in enumerate(self.subtrees):
            with self.placement.subtree(index):
                outputs.append(subtree(scaled(index), batch.get("num_frames"), training=training))
        if not self.config.branching:
            return outputs[0]
        with self.placement.root():
            return self.root.mix(scaled(0), outputs, training)

    def node(self, path):
        """The layer at a path of the tree: "" is the root, "1/2" the third child of the second child."""
        node = self.root
        for index in filter(None, path.split("/")):
            node = node.nodes[int(index)]
        return node

    def compile(self, optimizer, jit_compile=False, **kwargs):
        """As `keras.Model.compile`; XLA stays off by default: it cannot compile a model that spans devices."""
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def train_step(self, batch):
        terms, gradients = self.losses_and_gradients(batch)
        self.optimizer.apply(gradients, self.ordered_trainable_variables)
        for name, value in self.level_terms(terms).items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def losses_and_gradients(self, batch):
        """Loss terms of a batch, and the gradients of their sum.

        Returns:
            ({"bce": {path: scalar}, "kl": {path: scalar}, "l2": {path of a subtree: scalar}},
            gradients in the order of `ordered_trainable_variables`).
        """
        temperature = self.phase.temperature
        # Gradients of replicas are summed; each replica's loss is a mean over its own part of the batch.
        share = 1 / tf.distribute.get_strategy().num_replicas_in_sync
        scaled = self._scaled_frames(batch)
        labels = self._once_a_device(
            lambda: [tf.cast(batch[key], tf.float32) if key in batch else None for key in ("labels", "label_weights")]
        )
        terms, outputs, totals, tapes = {"bce": {}, "kl": {}, "l2": {}}, [], [], []
        for index, subtree in enumerate(self.subtrees):
            path = str(index) if self.config.branching else ""
            with self.placement.subtree(index), tf.GradientTape() as tape:
                output = subtree(scaled(index), batch.get("num_frames"), training=True)
                own = losses.tree_losses(output, *labels(index), temperature, path)
                own["l2"] = {path: losses.l2_penalty(subtree.regularized_weights, self._l2_scale(index))}
                totals.append(share * self.total_loss(own))
            outputs.append(output)
            tapes.append(tape)
            for kind, values in own.items():
                terms[kind].update(values)

        root_gradients, logit_gradients = [], [None] * len(outputs)
        if self.config.branching:
            logits = [output.logits for output in outputs]
            variables = self.root.mixing.trainable_variables
            with self.placement.root(), tf.GradientTape() as tape:
                tape.watch(logits)
                output = self.root.mix(scaled(0), outputs, training=True)
                own = losses.node_losses(output, *labels(0), temperature)
                total = share * self.total_loss(own)
                root_gradients, logit_gradients = tape.gradient(total, ([v.value for v in variables], logits))
            for kind, values in own.items():
                terms[kind].update(values)

        gradients, done = [], {}
        for index, (tape, output) in enumerate(zip(tapes, outputs)):
            # Backward passes that share a device take turns: gradients of all of them at once fill the memory.
            device = self.placement.device_of(index)
            with self.placement.subtree(index), tf.control_dependencies(done.get(device)):
                variables = [v.value for v in self.subtrees[index].trainable_variables]
                targets, weights = [totals[index]], [tf.ones(())]
                if logit_gradients[index] is not None:
                    targets, weights = targets + [output.logits], weights + [logit_gradients[index]]
                own_gradients = tape.gradient(targets, variables, output_gradients=weights)
                done[device] = [tf.group(own_gradients)]
            gradients += own_gradients
        return terms, gradients + list(root_gradients)

    @property
    def ordered_trainable_variables(self):
        """Trainable variables: subtree by subtree, then those of the root's mixing net."""
        variables = [variable for subtree in self.subtrees for variable in subtree.trainable_variables]
        return variables + (self.root.mixing.trainable_variables if self.config.branching else [])

    def total_loss(self, terms):
        """The sum that is minimised: BCE + lambda KL + L2 over all nodes (Eq. 6)."""
        return (
            sum(terms["bce"].values())
            + self.phase.kl_weight * sum(terms["kl"].values())
            + sum(terms.get("l2", {}).values())
        )

    def level_terms(self, terms):
        """The terms added up level by level, by the names of `metric_names`; level 0 is the root."""
        sums = dict.fromkeys(self.metric_names, 0.0)
        for kind in ("bce", "kl"):
            for path, value in terms[kind].items():
                sums[f"{kind}_level_{len(path.split('/')) if path else 0}"] += value
        return sums | {"loss": self.total_loss(terms), "l2": sum(terms["l2"].values())}

    @property
    def metric_names(self):
        """ "loss", "l2", and for each level its BCE and the KL from the level above it (before lambda)."""
        depth = len(self.config.branching)
        kl = [f"kl_level_{level}" for level in range(1, depth + 1)] if self.phase.temperature else []
        return ["loss", *(f"bce_level_{level}" for level in range(depth + 1)), *kl, "l2"]

    @property
    def metrics(self):
        return list(self.trackers.values())

    def _scaled_frames(self, batch):
        """A function from a subtree's number to its scaled frames; what travels to a device are the raw bytes."""
        return self._once_a_device(lambda: self.scaling(batch["features"], batch.get("present_frames")))

    def _once_a_device(self, compute):
        """A function from a subtree's number to what `compute()` gives, computed once on each device that asks."""
        cache = {}

        def computed(subtree):
            device = self.placement.device_of(subtree)
            if device not in cache:
                with self.placement.subtree(subtree):
                    cache[device] = compute()
            return cache[device]

        return computed

    def _l2_scale(self, subtree):
        """The penalty's scale in a subtree; by the original's accident the first counts as often as there are."""
        times = len(self.subtrees) - subtree if self.phase.original_accidents else 1
        return self.phase.l2_penalty * times
