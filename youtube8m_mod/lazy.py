"""Public names of a package that are loaded when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def attach(
    package: str, names: Mapping[str, Iterable[str]], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package's `__init__` needs to offer names without importing the modules that define them.

    Args:
        package: `__name__` of the package.
        names: the names that each of its modules offers, {"module": ["name", ...]}.
        submodules: modules that are attributes of the package without an import of their own.

    Returns:
        `__getattr__`, `__dir__` and `__all__` of the package.
    """
    module_of = {name: module for module, offered in names.items() for name in offered}
    submodules = tuple(submodules)

    def load(name):
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # The next use does not come here.
        return value

    def listing():
        return sorted({*vars(sys.modules[package]), *module_of, *submodules})

    return load, listing, [*sorted(module_of), *submodules]
