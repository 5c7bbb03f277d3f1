"""Rules of the ufuncs of scipy.special, filled in when the first of them meets a traced array.

One line each, by family, in the modules ``special_*``; they import SciPy, so they are imported
late. A ufunc without a line is refused by name, and so is a partial derivative given as ``None``
(the order of a Bessel function, the shape of an incomplete gamma function).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.core import Rule
from unigrad.engine.table import UFUNCS, elementwise
from unigrad.errors import TracingError

__all__ = ["real_only", "register", "several", "special", "ufunc_behind"]

PREFIX = "scipy.special."


def register() -> None:
    """Add the rules; nothing happens where SciPy is missing."""
    if importlib.util.find_spec("scipy") is None:
        return
    from unigrad.engine.rules import (
        special_bessel,
        special_elementary,
        special_gamma,
        special_integrals,
    )

    del special_bessel, special_elementary, special_gamma, special_integrals


def special(name: str, target: Any, *derivatives: Callable[..., Any] | None) -> None:
    """A ufunc of scipy.special by its partial derivatives ``(ans, *args)``."""
    if isinstance(target, np.ufunc):
        elementwise(PREFIX + name, *derivatives, target=target)


def several(name: str, target: Any, *derivatives: Callable[..., Any], constants: int = 0) -> None:
    """A ufunc with several outputs, by the derivative ``(ans, *args)`` of each in its argument.

    Args:
        constants: how many arguments without a derivative come after it.
    """

    def pull(g: Sequence[Any], ans: Any, *args: Any) -> Any:
        total = None
        for c, derivative in zip(g, derivatives, strict=True):
            if c is not None:
                d = derivative(ans, *args)
                term = c * (np.conj(d) if c.dtype.kind == "c" else d)
                total = term if total is None else total + term
        return total

    if isinstance(target, np.ufunc):
        UFUNCS[target] = Rule(PREFIX + name, [pull, *[None] * constants])


class _Witness:
    """An argument that gives back the ufunc it is passed to."""

    def __array_ufunc__(self, fn: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return fn


def ufunc_behind(fn: Callable[..., Any], *args: Any) -> Any:
    """The ufunc that a thin Python function of scipy.special, ``fn(*args, x)``, hands ``x`` to."""
    return fn(*args, _Witness())


def real_only(name: str, x: Any) -> None:
    """Refuse complex numbers where the function is not holomorphic, or its rule is not known.

    Raises:
        TracingError: if ``x`` is complex.
    """
    if x.dtype.kind == "c":
        raise TracingError(
            f"{name} of complex numbers has no derivative rule in unigrad's engine; pass real "
            f"numbers, or give a rule with ug.custom_vjp"
        )
