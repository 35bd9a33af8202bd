"""Which subtree lives on which device. Device strings do not leave this file."""

import contextlib

import tensorflow as tf


class Placement:
    """Deals the subtrees to devices, round robin.

    Args:
        devices: TensorFlow device strings; none: TensorFlow places everything itself.
    """

    def __init__(self, devices=()):
        self.devices = tuple(devices)

    def device_of(self, subtree):
        """The device of a subtree, "" where TensorFlow chooses."""
        return self.devices[subtree % len(self.devices)] if self.devices else ""

    def subtree(self, subtree):
        """A scope: what is made or computed in it is on the subtree's device."""
        return tf.device(self.device_of(subtree)) if self.devices else contextlib.nullcontext()

    def root(self):
        """A scope on the device of the root's own mixing net: that of the first subtree."""
        return self.subtree(0)
