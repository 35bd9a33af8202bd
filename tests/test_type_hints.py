"""Public functions and methods say what they take and what they give."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "youtube8m_mod"


def public_functions(body, owner=""):
    """(qualified name, node) of the public functions of a module and of the methods of its public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name in ("__init__", "__call__") or node.name[0] != "_"):
            yield owner + node.name, node


def lacking(node):
    """What a function leaves without a hint; variable arguments, which are passed on, need none."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    names = [one.arg for one in arguments if one.annotation is None and one.arg not in ("self", "cls")]
    return names if node.returns or node.name == "__init__" else [*names, "return"]


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if path.name[0] != "_"))
def test_every_public_function_has_hints(room):
    path = PACKAGE / room
    modules = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = {
        f"{module.relative_to(PACKAGE)}: {name}": without
        for module in modules
        for name, node in public_functions(ast.parse(module.read_text(encoding="utf-8")).body)
        if (without := lacking(node))
    }
    assert not found


def test_one_without_is_found():
    (function,) = ast.parse("def add(first: int, second, *, third: int = 0): pass").body
    assert lacking(function) == ["second", "return"]


def test_no_default_is_a_stream_of_the_import():
    """`sys.stderr` as a default is whatever it was when the module was imported, and may be closed since."""

    def streams(source):
        functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.Lambda))]
        defaults = [default for node in functions for default in (*node.args.defaults, *node.args.kw_defaults)]
        return [text for text in map(ast.unparse, filter(None, defaults)) if text.startswith("sys.std")]

    assert streams("def show(text, *, file=sys.stderr): pass") == ["sys.stderr"]
    assert not {path.name: found for path in PACKAGE.rglob("*.py") if (found := streams(path.read_text("utf-8")))}
