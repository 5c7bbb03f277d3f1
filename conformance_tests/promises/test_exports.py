"""`__all__`, the exports and the documentation of unigrad agree."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import unigrad as ug

ROOT = Path(ug.__file__).parent
PUBLIC = [name for name in ug.__all__ if not inspect.ismodule(getattr(ug, name))]
# Data without behaviour, and the contract of an adapter: no number to show.
WITHOUT_EXAMPLE = {
    "Backend",
    "BackendInfo",
    "BackendSpec",
    "Capabilities",
    "Route",
    "get_backend",
    "register_backend",
    "set_default_backend",
}


def _modules():
    found = [info.name for info in pkgutil.walk_packages(ug.__path__, "unigrad.")]
    return [name for name in found if not name.endswith("__main__")]


def test_all_agrees_with_what_init_imports():
    """Every name that unigrad/__init__.py imports is public, and nothing else is."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(ug.__all__)
    assert len(ug.__all__) == len(set(ug.__all__))
    for name in ug.__all__:
        assert getattr(ug, name) is not None


@pytest.mark.parametrize("module", _modules())
def test_every_all_exists(module):
    """`from module import *` works everywhere."""
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(loaded, name), f"{module}.{name}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    """A docstring, whose first line is one sentence; for operators, an example."""
    text = inspect.getdoc(getattr(ug, name))
    assert text
    first = text.splitlines()[0]
    assert first[0].isupper() or first.startswith("``")
    assert len(first) <= 100
    if name not in WITHOUT_EXAMPLE:
        assert doctest.DocTestParser().get_examples(text), f"ug.{name} has no example"


def test_errors_are_all_exported_and_drawn():
    """The tree in the docstring of unigrad.errors is the tree."""
    errors = ug.errors
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.UnigradError)
    }
    assert set(errors.__all__) == set(classes)
    for name, cls in classes.items():
        line = next(x for x in errors.__doc__.splitlines() if name in x)
        builtins = [b for b in cls.__bases__ if b.__module__ == "builtins" and b is not Exception]
        for builtin in builtins:
            assert builtin.__name__ in line
        assert cls.__doc__


def test_version_is_that_of_the_metadata():
    """One version in two places."""
    from importlib.metadata import version

    assert ug.__version__ == version("unigrad")
