"""MOD: a deep mixture of NeXtVLAD models with online knowledge distillation.

Importing the package loads neither TensorFlow nor Keras; the submodules load what they need.
"""

__version__ = "1.0.0"
