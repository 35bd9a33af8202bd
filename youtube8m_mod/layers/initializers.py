"""The initializer of the original's layers."""

import keras

# Keras divides by the standard deviation of a normal truncated at two sigma; slim multiplies the variance by 1.3.
_TRUNCATED_STDDEV = 0.87962566103423978


def slim_variance_scaling() -> keras.initializers.VarianceScaling:
    """A truncated normal of stddev sqrt(1.3 * 2 / fan_in) before truncation, as tf.contrib.slim's default."""
    return keras.initializers.VarianceScaling(
        2 * 1.3 * _TRUNCATED_STDDEV**2, mode="fan_in", distribution="truncated_normal"
    )
