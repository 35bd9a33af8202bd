"""Adam as one fused operation a variable, and the original's learning-rate schedule."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from youtube8m_mod.config import PhaseConfig

# Elements from which on a pass over a gradient costs more than the branch that spares it (and its tracing).
_LARGE = 1 << 18


@keras.saving.register_keras_serializable("youtube8m_mod")
class StaircaseDecay(keras.optimizers.schedules.LearningRateSchedule):
    """base * decay^floor(examples seen / decay_examples), as the original counts examples: step * batch size."""

    def __init__(self, base_learning_rate: float, batch_size: int, decay: float, decay_examples: int):
        self.base_learning_rate, self.batch_size = base_learning_rate, batch_size
        self.decay, self.decay_examples = decay, decay_examples

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        decays = tf.cast(step, tf.int64) * self.batch_size // self.decay_examples
        return self.base_learning_rate * tf.pow(tf.constant(self.decay, tf.float32), tf.cast(decays, tf.float32))

    def get_config(self) -> dict[str, Any]:
        return {
            "base_learning_rate": self.base_learning_rate,
            "batch_size": self.batch_size,
            "decay": self.decay,
            "decay_examples": self.decay_examples,
        }


@keras.saving.register_keras_serializable("youtube8m_mod")
class FusedAdam(keras.optimizers.Optimizer):
    """Adam (Kingma and Ba, 2015) through TensorFlow's fused kernel, numerically that of TensorFlow 1.

    Moments lie on the device of their variable. A gradient is clipped to `clip_norm` by its own norm, and is touched
    only where its norm exceeds it. The bias correction's powers of beta are variables of their own: finetuning carries
    the moments over and resets the step, and the correction goes on. The norms of the gradients before clipping stay on
    their devices until the next step, for `norm_of`; they are no part of the state, neither saved nor restored.

    Args:
        learning_rate: a number or a schedule of the step.
        beta_1, beta_2, epsilon: as in the paper; epsilon is added to the root of the uncorrected second moment.
        clip_norm: largest norm of a variable's gradient; 0 does not clip.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float = 1.0,
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.clip_norm = beta_1, beta_2, epsilon, clip_norm

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.first_moments = [self.add_variable_from_reference(variable, name="m") for variable in variables]
        self.second_moments = [self.add_variable_from_reference(variable, name="v") for variable in variables]
        self.beta_1_power, self.beta_2_power = (
            self.add_variable(
                shape=(),
                dtype="float32",
                name=name,
                aggregation="only_first_replica",
                initializer=keras.initializers.Constant(value),
            )
            for name, value in (("beta_1_power", self.beta_1), ("beta_2_power", self.beta_2))
        )
        self._norms = [_Norms(*own) for own in _by_device(variables).items()]
        self._norm_places = {
            index: (norms, place) for norms in self._norms for place, index in enumerate(norms.indices)
        }

    def add_variable_from_reference(self, reference_variable: keras.Variable, *args, **kwargs) -> keras.Variable:
        # Without the scope, Keras puts every slot on the default device.
        with tf.device(getattr(reference_variable.value, "device", None)):
            return super().add_variable_from_reference(reference_variable, *args, **kwargs)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Read once here: otherwise these three scalars travel for each variable of another device.
        scalars = [tf.convert_to_tensor(value) for value in (learning_rate, self.beta_1_power, self.beta_2_power)]
        if tf.distribute.has_strategy():
            super()._backend_update_step(grads, trainable_variables, scalars)
        else:
            # Keras sums over replicas even where there is one: all gradients to the default device and back.
            found = self._update(grads, [variable.value for variable in trainable_variables], scalars)
            for norms in self._norms:
                norms.assign(found)
        self.beta_1_power.assign(self.beta_1_power * self.beta_1)
        self.beta_2_power.assign(self.beta_2_power * self.beta_2)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, scalars: Sequence[tf.Tensor]) -> None:
        ((index, norm),) = self._update([gradient], [variable], scalars).items()
        norms, place = self._norm_places[index]
        norms.assign_one(place, norm)

    def _update(self, gradients, variables, scalars):
        """Updates variables; returns {index of a variable: norm of its gradient}."""
        groups, found = {}, {}
        for gradient, variable in zip(gradients, variables):
            gradient = tf.convert_to_tensor(tf.cast(gradient, variable.dtype))  # Of an embedding it is `IndexedSlices`.
            gradient.set_shape(variable.shape)  # The graph of a batch of unknown size does not know it.
            groups.setdefault((variable.device, variable.dtype), []).append((gradient, variable))
        for (device, _), pairs in groups.items():
            with tf.device(device):  # Without the scope, gradients travel to the default device to be clipped.
                found |= self._update_on_device(*zip(*pairs), scalars)
        return found

    def _update_on_device(self, gradients, variables, scalars):
        # Constants once for all: a graph of hundreds of variables is made, and optimised, before the first step.
        learning_rate, beta_1_power, beta_2_power = scalars
        settings = {
            name: tf.constant(value, variables[0].dtype)
            for name, value in (("beta1", self.beta_1), ("beta2", self.beta_2), ("epsilon", self.epsilon))
        }
        settings |= {"lr": tf.cast(learning_rate, variables[0].dtype)}
        settings |= {"beta1_power": beta_1_power, "beta2_power": beta_2_power}
        indices = [self._get_variable_index(variable) for variable in variables]
        clipped, norms = self._clipped_and_norms(gradients)
        for gradient, variable, index in zip(clipped, variables, indices):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self.first_moments[index].value.handle,
                v=self.second_moments[index].value.handle,
                grad=gradient,
                **settings,
            )
        return {index: tf.cast(norm, tf.float32) for index, norm in zip(indices, norms)}

    @property
    def model_averages(self) -> list[keras.Variable]:
        """The moving average of each variable, with `use_ema`."""
        return self._model_variables_moving_average

    def norm_of(self, variables: Iterable[keras.Variable]) -> tf.Tensor:
        """The norm of all gradients of some of the variables together, in the last step before clipping: a scalar."""
        places = [self._norm_places[self._get_variable_index(variable)] for variable in variables]
        return tf.norm([norms.values[place] for norms, place in places])

    def clipped(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients, the norm of each brought down to `clip_norm` where it exceeds it."""
        return self._clipped_and_norms(gradients)[0]

    def _clipped_and_norms(self, gradients):
        """(`clipped(gradients)`, their norms before); those of all small gradients are computed together."""
        large = [number for number, gradient in enumerate(gradients) if gradient.shape.num_elements() >= _LARGE]
        small = [number for number in range(len(gradients)) if number not in large]
        norms, factors = {number: _norm(gradients[number]) for number in large}, {}
        if small:
            together = tf.sqrt(2 * tf.stack([tf.nn.l2_loss(gradients[number]) for number in small]))
            norms |= zip(small, tf.unstack(together))
            if self.clip_norm:
                factors = dict(zip(small, tf.unstack(self.clip_norm / tf.maximum(together, self.clip_norm))))
        clipped = [
            gradient * factors[number] if number in factors else self._clipped_large(gradient, norms[number])
            for number, gradient in enumerate(gradients)
        ]
        return clipped, [norms[number] for number in range(len(gradients))]

    def _clipped_large(self, gradient, norm):
        if not self.clip_norm:
            return gradient
        return tf.cond(norm > self.clip_norm, lambda: gradient * (self.clip_norm / norm), lambda: gradient)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "clip_norm": self.clip_norm,
        }


class _Norms:
    """Norms of the gradients of all variables on a device, in one variable there: an assignment each would cost more.

    Args:
        device: of the variables; None: not known.
        indices: of the variables in the optimizer.
    """

    def __init__(self, device, indices):
        self.device, self.indices = device, indices
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
        with tf.device(device):
            self.values = tf.Variable(tf.zeros(len(indices)), trainable=False, name="norms", aggregation=aggregation)

    def assign(self, found):
        """Takes {index of a variable: norm}; 0 where there was no gradient."""
        with tf.device(self.device):
            self.values.assign(tf.stack([found.get(index, tf.zeros(())) for index in self.indices]))

    def assign_one(self, place, norm):
        """Takes the norm of one variable, where a strategy updates them one by one."""
        tf.raw_ops.ResourceScatterUpdate(resource=self.values.handle, indices=place, updates=norm)


def _by_device(variables):
    """{device or None: [index of a variable]}"""
    devices = {}
    for index, variable in enumerate(variables):
        devices.setdefault(getattr(variable.value, "device", None), []).append(index)
    return devices


def _norm(gradient):
    return tf.sqrt(2 * tf.nn.l2_loss(gradient))


def optimizer_of(phase: PhaseConfig) -> FusedAdam:
    """The optimizer and learning-rate schedule of a `PhaseConfig`."""
    schedule = StaircaseDecay(
        phase.base_learning_rate, phase.batch_size, phase.learning_rate_decay, phase.learning_rate_decay_examples
    )
    averaging = {"use_ema": True, "ema_momentum": phase.ema_momentum} if phase.ema_momentum else {}
    return FusedAdam(schedule, clip_norm=phase.clip_gradient_norm, **averaging)
