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


def prefix(case):
    """What the arrays of a case, as "a_train", begin with: "a"."""
    return case.split("_")[0]


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
        return [key[len(start) :].replace("|", "/") for key in self.arrays if key.startswith(start)]

    def check_keys(self, known, *prefix):
        """Fails where the set holds arrays under a prefix whose first part a test does not know."""
        unknown = {key.split("/")[0] for key in self.keys(*prefix)} - set(known)
        assert not unknown, f"{'/'.join(prefix)}: unknown arrays {sorted(unknown)}"

    def check_cases(self, prefix_of):
        """Fails where the set holds arrays that belong to no case; `prefix_of` gives a case's prefix."""
        known = {name for case in self.cases for name in (case, prefix_of(case))}
        unknown = {key.split("|")[0] for key in self.arrays} - known
        assert not unknown, f"arrays of no case: {sorted(unknown)}"

    def variable(self, prefix, name, shape):
        """The value that the recipe gives the TF1 variable `name`."""
        return _recipe().variable(f"{self.salt}|{prefix}", name, shape)

    def normal(self, name, shape):
        return _recipe().normal(self.salt, name, shape)


@functools.cache
def item(name):
    return Item(name)


def max_differences(actual, expected, each=False):
    """(largest absolute difference, largest relative one).

    Relative to the largest magnitude expected, or with `each` to the magnitude of each entry, of which those below a
    millionth of the largest count as that.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if not expected.size:
        return 0.0, 0.0
    differences, magnitudes = np.abs(actual - expected), np.abs(expected)
    scale = max(float(magnitudes.max()), 1e-30)
    ratios = differences / (np.maximum(magnitudes, 1e-6 * scale) if each else scale)
    return float(differences.max()), float(ratios.max())
