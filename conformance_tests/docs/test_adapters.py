"""The examples in the docstrings of the adapters that are installed run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [
        found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return [package, *map(importlib.import_module, names)]


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax", "mxnet"])
def test_docstrings(name: str) -> None:
    try:
        backend = ug.get_backend(name)
    except BackendNotAvailableError as error:
        pytest.skip(str(error))
    package = importlib.import_module(type(backend).__module__.partition(".")[0])
    for module in _modules(package):
        failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert not failed, f"{failed} examples of {module.__name__} fail, as printed above"
