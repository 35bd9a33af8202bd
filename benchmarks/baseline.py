"""The baseline of the benchmarks: the paper's equations in plain Keras, line by line, in their direct order.

What a careful reader of the paper would write first: stock Keras layers, features dequantised in a pass of their own,
one gradient tape over the whole tree, Keras' Adam with clipping. It shares no code with the package but `config`.
"""

import keras
import tensorflow as tf
from keras import layers, ops

MOMENTUM = 0.999


class Pooling(layers.Layer):
    """NeXtVLAD (Eq. 2-5): frames `(batch, frames, features)` -> `(batch, F * K)`."""

    def __init__(self, size, groups, clusters, expansion):
        super().__init__()
        self.groups, self.clusters = groups, clusters
        width = int(expansion * size)
        self.expand = layers.Dense(width)
        self.attend = layers.Dense(groups, activation="sigmoid")
        self.assign = layers.Dense(groups * clusters, use_bias=False)
        self.assign_norm = layers.BatchNormalization(momentum=MOMENTUM)
        self.centers = self.add_weight(name="centers", shape=(1, width // groups, clusters))
        self.output_norm = layers.BatchNormalization(momentum=MOMENTUM)

    def call(self, frames, mask=None, training=None):
        batch, count = ops.shape(frames)[:2]
        expanded = self.expand(frames)
        attention = self.attend(expanded)
        if mask is not None:
            attention = attention * ops.expand_dims(mask, -1)
        attention = ops.reshape(attention, (batch, count * self.groups, 1))
        assignment = self.assign_norm(self.assign(expanded), training=training)
        assignment = ops.softmax(ops.reshape(assignment, (batch, count * self.groups, self.clusters)))
        assignment = assignment * attention
        residual_weight = ops.sum(assignment, axis=1, keepdims=True)
        grouped = ops.reshape(expanded, (batch, count * self.groups, -1))
        vlad = ops.matmul(ops.transpose(grouped, (0, 2, 1)), assignment) - residual_weight * self.centers
        vlad = vlad * ops.rsqrt(ops.maximum(ops.sum(ops.square(vlad), axis=1, keepdims=True), 1e-12))
        return self.output_norm(ops.reshape(vlad, (batch, -1)), training=training)

    def copy(self, pooling):
        for target, source in (
            (self.expand.kernel, pooling.expansion_kernel),
            (self.expand.bias, pooling.expansion_bias),
            (self.attend.kernel, pooling.attention_kernel),
            (self.attend.bias, pooling.attention_bias),
            (self.assign.kernel, pooling.assignment_kernel),
            (self.centers, pooling.centers),
        ):
            target.assign(source)
        copy_norm(self.assign_norm, pooling.assignment_norm)
        copy_norm(self.output_norm, pooling.output_norm)


class Leaf(layers.Layer):
    """The NeXtVLAD model (Fig. 5); gives [logits]."""

    def __init__(self, config, dropout):
        super().__init__()
        self.sizes = config.feature_sizes
        self.poolings = [
            Pooling(size, groups, clusters, config.expansion) for _, size, groups, clusters in config.streams
        ]
        self.dropout = layers.Dropout(dropout)
        self.hidden = layers.Dense(config.hidden_size, use_bias=False)
        self.hidden_norm = layers.BatchNormalization(momentum=MOMENTUM)
        self.squeeze = layers.Dense(config.hidden_size // config.gating_reduction, use_bias=False)
        self.squeeze_norm = layers.BatchNormalization(momentum=MOMENTUM)
        self.excite = layers.Dense(config.hidden_size, use_bias=False, activation="sigmoid")
        self.classifier = layers.Dense(config.num_classes, dtype="float32")

    def call(self, frames, mask=None, training=None):
        streams = ops.split(frames, [sum(self.sizes[:i]) for i in range(1, len(self.sizes))], axis=-1)
        pooled = [pooling(stream, mask, training=training) for pooling, stream in zip(self.poolings, streams)]
        hidden = self.hidden(self.dropout(ops.concatenate(pooled, axis=1), training=training))
        hidden = self.hidden_norm(hidden, training=training)
        gates = self.excite(ops.relu(self.squeeze_norm(self.squeeze(hidden), training=training)))
        return [self.classifier(hidden * gates)]

    def copy(self, leaf):
        for own, pooling in zip(self.poolings, leaf.poolings):
            own.copy(pooling)
        for target, source in (
            (self.hidden.kernel, leaf.hidden.kernel),
            (self.squeeze.kernel, leaf.gating.squeeze),
            (self.excite.kernel, leaf.gating.excite),
            (self.classifier.kernel, leaf.classifier.kernel),
            (self.classifier.bias, leaf.classifier.bias),
        ):
            target.assign(source)
        copy_norm(self.hidden_norm, leaf.hidden_norm)
        copy_norm(self.squeeze_norm, leaf.gating.norm)

    def classifiers(self):
        return [self.classifier]


class Mix(layers.Layer):
    """A mixture (Fig. 6); gives the logits of the whole subtree, its own first, and the depth of each below it."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes
        self.norm = layers.BatchNormalization(momentum=MOMENTUM, dtype="float32")
        self.weigh = layers.Dense(len(nodes), activation="softmax", dtype="float32")

    def call(self, frames, mask=None, training=None):
        below = [node(frames, mask, training=training) for node in self.nodes]
        mean = ops.mean(ops.cast(frames, "float32"), axis=1)
        weights = self.weigh(self.norm(mean, training=training))
        logits = ops.stack([ops.cast(outputs[0], "float32") for outputs in below], axis=1)
        mixed = ops.sum(ops.expand_dims(weights, -1) * logits, axis=1)
        return [mixed, *(output for outputs in below for output in outputs)]

    def copy(self, mixture):
        for own, node in zip(self.nodes, mixture.nodes):
            own.copy(node)
        self.weigh.kernel.assign(mixture.mixing.kernel)
        self.weigh.bias.assign(mixture.mixing.bias)
        copy_norm(self.norm, mixture.mixing.norm)

    def classifiers(self):
        return [classifier for node in self.nodes for classifier in node.classifiers()]


class Baseline(keras.Model):
    """The tree with its losses under one tape; `train_step` and `predict_step` take the batches of the readers.

    Args:
        config: a `ModelConfig` with pooling "nextvlad".
        phase: a `PhaseConfig`.
    """

    def __init__(self, config, phase):
        super().__init__()
        self.config, self.phase = config, phase
        self.root = self._node(0)
        self.scale = self.add_weight(name="scale", shape=(config.feature_size,), initializer="ones", trainable=False)
        self.offset = [4 / 512] * config.feature_sizes[0] + [0.0] * sum(config.feature_sizes[1:])
        self.parents = list(self._parents(0, None, [-1]))

    def _node(self, depth):
        branching = self.config.branching
        if depth < len(branching):
            return Mix([self._node(depth + 1) for _ in range(branching[depth])])
        return Leaf(self.config, self.phase.dropout)

    def _parents(self, depth, parent, last):
        """For each output, in their order, the number of its parent's; None for the root."""
        last[0] += 1
        number = last[0]
        yield parent
        for _ in range(self.config.branching[depth] if depth < len(self.config.branching) else 0):
            yield from self._parents(depth + 1, number, last)

    def call(self, batch, training=False):
        frames = ops.cast(batch["features"], "float32") * (4 / 255) + (4 / 512 - 2)
        rows = ops.arange(ops.shape(frames)[1])
        frames = frames * ops.cast(rows < batch["present_frames"][:, None], "float32")[:, :, None]
        frames = (frames - ops.convert_to_tensor(self.offset)) * self.scale
        mask = ops.cast(rows < batch["num_frames"][:, None], "float32")
        return self.root(frames, mask, training=training)

    def predict_step(self, batch):
        return ops.sigmoid(self(batch)[0])

    def train_step(self, batch):
        labels = ops.cast(batch["labels"], "float32")
        weights = ops.cast(batch["label_weights"], "float32") if "label_weights" in batch else 1.0
        temperature = self.phase.temperature
        with tf.GradientTape() as tape:
            outputs = self(batch, training=True)
            loss = 0.0
            for logits, parent in zip(outputs, self.parents):
                p = ops.sigmoid(logits)
                bce = -(labels * ops.log(p + 1e-5) + (1 - labels) * ops.log(1 - p + 1e-5))
                loss += ops.mean(ops.sum(bce * weights, axis=1))
                if temperature and parent is not None:
                    teacher = ops.softmax(outputs[parent] / temperature)
                    student = ops.softmax(logits / temperature)
                    kl = teacher * (ops.log(teacher + 1e-8) - ops.log(student + 1e-8))
                    loss += self.phase.distillation_weight_at(1) * ops.mean(ops.sum(kl, axis=1))
            for classifier in self.root.classifiers():
                for weight in (classifier.kernel, classifier.bias):
                    loss += self.phase.l2_penalty / 2 * ops.sum(ops.square(weight))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        return loss


def copy_norm(target, source):
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        getattr(target, name).assign(getattr(source, name))


def baseline_of(model, phase, batch):
    """A compiled `Baseline` with the weights of a `MOD`; `batch` builds it.

    Its optimizer is Keras' Adam with the phase's first learning rate, clipping by norm.
    """
    baseline = Baseline(model.config, phase)
    baseline(batch)
    baseline.root.copy(model.root)
    baseline.scale.assign(model.scaling.scale)
    baseline.optimizer = keras.optimizers.Adam(
        phase.base_learning_rate, epsilon=1e-8, clipnorm=phase.clip_gradient_norm or None
    )
    baseline.optimizer.build(baseline.trainable_weights)
    return baseline
