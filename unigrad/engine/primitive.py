"""Functions with rules of their own, which NumPy's protocols do not announce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unigrad.engine.core import Box, Rule, apply

__all__ = ["primitive"]


def primitive(rule: Rule, value: Callable[..., Any]) -> Callable[..., Any]:
    """``value(*arrays, **options)``, differentiated by ``rule``, at every level of nesting.

    Trap: ``apply(rule, value, ...)`` alone would call ``value`` on the boxes of outer traces.

    >>> from unigrad.engine import vjp
    >>> import numpy as np
    >>> double = primitive(Rule("double", [lambda g, ans, x: 2 * g]), lambda x: 2 * x)
    >>> float(vjp(lambda x: (double(x),), [np.float64(3.0)])[1]([np.float64(1.0)])[0])
    2.0
    """

    def call(*args: Any, **options: Any) -> Any:
        for a in args:
            if isinstance(a, Box):
                return apply(rule, call, args, options)
        return value(*args, **options)

    return call
