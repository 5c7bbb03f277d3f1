"""Derivatives of functions written in plain NumPy; see README.md in this folder.

The engine knows no adapter. Importing it fills its rule tables.
"""

from unigrad.engine import rules
from unigrad.engine.array import TracedArray
from unigrad.engine.core import gathered, snapshot, stop_gradient
from unigrad.engine.custom import custom_vjp
from unigrad.engine.derivatives import jvp, value_and_grad, vjp
from unigrad.engine.replaying import linearize, replayed

__all__ = [
    "TracedArray",
    "custom_vjp",
    "gathered",
    "jvp",
    "linearize",
    "replayed",
    "rules",
    "snapshot",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
