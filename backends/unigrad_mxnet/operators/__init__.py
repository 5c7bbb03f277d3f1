"""The value of each MXNet operator in plain NumPy, by family; the engine differentiates it."""

import importlib
import pkgutil

from unigrad_mxnet.operators.table import OPERATORS, Attributes, operator

__all__ = ["OPERATORS", "Attributes", "operator"]

for _module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
