"""Which route a derivative takes: native or derived, exact or not, how often ``f`` is called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unigrad import trees
from unigrad.backend import Backend
from unigrad.errors import ArgumentError
from unigrad.operators import first_order, second_order
from unigrad.registry import backend_of

__all__ = ["Route", "explain"]

_CURRIED = (
    first_order.grad,
    first_order.value_and_grad,
    first_order.jacobian,
    second_order.hessian,
)
_DIRECT = (
    first_order.vjp,
    first_order.jvp,
    first_order.linearize,
    second_order.hvp,
    second_order.value_grad_and_hvp,
)


@dataclass(frozen=True)
class Route:
    """How an operator was computed.

    Attributes:
        operator: its name.
        backend: the name of the backend that did the work.
        method: the composition, and whether its parts are the backend's own or derived.
        exact: whether the result is exact up to rounding.
        calls: how often ``f`` was called.
    """

    operator: str
    backend: str
    method: str
    exact: bool
    calls: int

    def __str__(self) -> str:
        times = "once" if self.calls == 1 else f"{self.calls} times"
        kind = "exact" if self.exact else "approximate"
        return f"{self.operator} on {self.backend}: {self.method}; {kind}; f called {times}"


def explain(
    operator: Callable[..., Any], f: Callable[..., Any], *args: Any, **kwargs: Any
) -> Route:
    """Run ``operator`` on ``f`` and say which route it took.

    Args:
        operator: one of `grad`, `value_and_grad`, `jacobian`, `hessian`, `vjp`, `jvp`, `linearize`,
            `hvp`, `value_grad_and_hvp`.
        args: what follows ``f`` in a call of the operator, or of the function it returns.
        kwargs: options of the operator.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.explain(ug.grad, np.sin, 0.0))
    grad on numpy: native value_and_grad; exact; f called once
    """
    calls = 0

    @functools.wraps(f)
    def counted(*xs: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return f(*xs, **options)

    if operator in _CURRIED:
        operator(counted, **kwargs)(*args)
    elif operator in _DIRECT:
        operator(counted, *args, **kwargs)
    else:
        names = ", ".join(f"ug.{o.__name__}" for o in (*_CURRIED, *_DIRECT))
        raise ArgumentError(f"explain takes one of {names}, got {operator!r}")
    backend = backend_of(trees.flatten(args)[0], kwargs.get("backend"))
    name = operator.__name__
    method = _method(name, backend, kwargs.get("method", "auto"))
    return Route(name, backend.name, method, kwargs.get("method") != "finite_difference", calls)


def _method(name: str, backend: Backend, asked: str) -> str:
    native = backend.capabilities.native
    if name in ("hvp", "value_grad_and_hvp"):
        chosen = backend.capabilities.hvp if asked == "auto" else asked
        if chosen == "finite_difference":
            return "central difference of two gradients"
        own = "native" if "hvp" in native else "derived"
        return f"{chosen.replace('_', ' ')}, {own}"
    if name == "hessian":
        return "rows of the pullback of the gradient"
    if name == "jacobian":
        return "rows of the pullback, or columns of its transpose, whichever are fewer"
    if name in ("grad", "value_and_grad") and "value_and_grad" in native:
        return "native value_and_grad"
    if name in ("jvp", "linearize") and name in native:
        return f"native {name}"
    if name in ("jvp", "linearize"):
        exact = backend.capabilities.second_order
        return "the pullback of the pullback" if exact else "rows of the pullback"
    return "derived from the backend's own vjp" if name != "vjp" else "native vjp"
