"""The numbers of the original TensorFlow 1 code; see tests/golden/README.md.

The environment variable GOLDEN_DIR names another set of the same form.
"""

import functools
import importlib.util
import json
import os

import numpy as np

GOLDEN_DIR = os.environ.get("GOLDEN_DIR") or os.path.join(os.path.dirname(__file__), "golden")


def path(name):
    """Path of a file of the golden set."""
    return os.path.join(GOLDEN_DIR, name)


@functools.cache
def _recipe():
    spec = importlib.util.spec_from_file_location("golden_recipe", path("recipe.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Item:
    """One golden item: its description `info` (the JSON) and its arrays (the npz)."""

    def __init__(self, name):
        with open(path(f"{name}.json"), encoding="utf-8") as file:
            self.info = json.load(file)
        self.arrays = dict(np.load(path(f"{name}.npz")))
        self.salt = self.info["salt"]
        self.cases = self.info.get("cases", {})

    def array(self, *key):
        """The stored array under a key, its parts joined as the README writes them with "/"."""
        return self.arrays["|".join(part.replace("/", "|") for part in key)]

    def keys(self, *prefix):
        """Stored keys under a prefix, without it, with "/" between the parts."""
        start = "|".join(part.replace("/", "|") for part in prefix) + "|"
        return [key[len(start):].replace("|", "/") for key in self.arrays if key.startswith(start)]

    def variable(self, prefix, name, shape):
        """The value that the recipe gives the TF1 variable `name`."""
        return _recipe().variable(f"{self.salt}|{prefix}", name, shape)

    def normal(self, name, shape):
        return _recipe().normal(self.salt, name, shape)


@functools.cache
def item(name):
    return Item(name)


def max_differences(actual, expected):
    """(largest absolute difference, the same relative to the largest magnitude expected)."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if not expected.size:
        return 0.0, 0.0
    difference = float(np.max(np.abs(actual - expected)))
    return difference, difference / max(float(np.max(np.abs(expected))), 1e-30)
