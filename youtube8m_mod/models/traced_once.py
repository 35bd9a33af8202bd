"""Layers that are alike, traced as one TensorFlow function."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from youtube8m_mod.tree import Tensor


class TracedOnce:
    """A function of a layer, of which the graph is made once for layers that are alike.

    A training starts when the graph of its step is made, and the subtrees of a mixture are the same but for their
    weights. So inside a graph `function` is traced with the first of them, its variables being inputs, and that is
    called for each: on the device of the caller, and with gradients, as if it had been traced there. TensorFlow puts
    the function's operations in the place of the calls before it runs them.

    Called eagerly, under a distribution strategy, or for layers that differ, it is `function` itself.

    Args:
        layers: the layers.
        function: `function(layer, *args)` gives a nest of tensors; it may assign variables of the layer that are not
            trainable, and reads no other variables.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], function: Callable[..., Any]):
        self.layers, self.function = list(layers), function
        self._variables = [[*layer.trainable_variables, *layer.non_trainable_variables] for layer in self.layers]
        self._shared = (
            len(self.layers) > 1
            and tf.inside_function()
            and not tf.distribute.has_strategy()
            and len({*map(_kind, self.layers)}) == 1
        )
        self._traced = tf.function(self._of_first, autograph=False)

    def __call__(self, index: int, *args: Tensor | None) -> Any:
        """`function(layers[index], *args)`."""
        if not self._shared:
            return self.function(self.layers[index], *args)
        variables = self._variables[index]
        result, assigned = self._traced([tf.convert_to_tensor(variable.value) for variable in variables], args)
        for number, value in assigned.items():
            variables[int(number)].assign(value)
        return result

    def _of_first(self, values, args):
        """(result for the first layer with these values of its variables, {number of a variable: new value})."""
        # Without the argument the scope's end would initialise whatever variables a caller has not initialised yet.
        with keras.StatelessScope(list(zip(self._variables[0], values)), initialize_variables=False) as scope:
            result = self.function(self.layers[0], *args)
        new = [scope.get_current_value(variable) for variable in self._variables[0]]
        return result, {
            str(number): tf.stop_gradient(value)
            for number, (value, given) in enumerate(zip(new, values))
            if value is not given
        }


def _kind(layer):
    """What layers have in common that are alike: settings, and shapes of the variables; not names and seeds."""
    settings = [
        (type(part).__name__, part.trainable, part.dtype_policy.name)
        + tuple(
            (name, value)
            for name, value in sorted(vars(part).items())
            if isinstance(value, (bool, int, float)) and not name.startswith("_") and name != "seed"
        )
        for part in layer._flatten_layers()
    ]
    variables = [
        (tuple(variable.shape), variable.dtype)
        for variable in (*layer.trainable_variables, *layer.non_trainable_variables)
    ]
    return str((settings, variables))
