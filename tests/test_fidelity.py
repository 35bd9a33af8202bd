"""docs/fidelity.md names tests that exist."""

import os
import re

TESTS = os.path.dirname(__file__)


def test_named_tests_exist():
    with open(os.path.join(TESTS, "..", "docs", "fidelity.md"), encoding="utf-8") as file:
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", file.read())
    assert len(named) > 20
    for name, function in named:
        path = os.path.join(TESTS, ".." if name.startswith("youtube8m_mod/") else "", name)
        if name == "inference.py":
            continue
        with open(path, encoding="utf-8") as file:
            assert not function or f"def {function}(" in file.read(), f"{name}::{function}"
