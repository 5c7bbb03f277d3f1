"""Memory for time: a function whose inner values are computed again on the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Backend
from unigrad.errors import ArgumentError
from unigrad.operators.control import custom_vjp, is_smooth
from unigrad.operators.first_order import vjp
from unigrad.registry import backend_of

__all__ = ["checkpoint"]


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function and derivatives; its inner values are recomputed instead of kept.

    Between the call and the way back only the arguments are kept, and ``f`` runs once more for
    each pullback (the documented exception to S9). Everything that is differentiated must be an
    argument, not a variable of an enclosing function; what else ``f`` reads must not change
    meanwhile, which is checked on NumPy.

    Args:
        f: a function of trees of arrays, free of side effects and of randomness. Keyword
            arguments are passed on and not differentiated.

    References:
        Griewank and Walther (2000), Algorithm 799: revolve, doi:10.1145/347837.347846.

    >>> import numpy as np, unigrad as ug
    >>> square = ug.checkpoint(lambda x: x * x)
    >>> print(ug.grad(lambda x: square(square(x)))(2.0))
    32.0
    """
    if not callable(f):
        raise ArgumentError(f"ug.checkpoint needs a function, got {type(f).__name__}")

    @functools.wraps(f)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        fixed = functools.partial(f, **kwargs)

        def backward(kept: tuple[Any, Any], cotangent: Any) -> tuple[Any, ...]:
            given, before = kept
            leaves, treedef = trees.flatten(given)
            backend = backend_of(leaves)
            smooth = [i for i, x in enumerate(leaves) if is_smooth(backend, x)]

            def of_smooth(*xs: Any) -> Any:
                full = list(leaves)
                for i, x in zip(smooth, xs, strict=True):
                    full[i] = x
                return fixed(*trees.unflatten(treedef, full))

            again, pullback = vjp(of_smooth, *(leaves[i] for i in smooth))
            _require_same(backend, again, before)
            grads = list(leaves)  # what is not smooth has no cotangent: any leaf will do
            for i, grad in zip(smooth, pullback(cotangent), strict=True):
                grads[i] = grad
            return tuple(trees.unflatten(treedef, grads))

        def forward(*xs: Any) -> tuple[Any, Any]:
            output = fixed(*xs)
            return output, (xs, output)

        rule = custom_vjp(fixed)
        rule.defvjp(forward, backward)
        return rule(*args)

    return recomputed


def _require_same(backend: Backend, again: Any, before: Any) -> None:
    if backend.name != "numpy":
        return
    for a, b in zip(trees.flatten(again)[0], trees.flatten(before)[0], strict=True):
        x, y = (backend.stop_gradient(z) if is_smooth(backend, z) else z for z in (a, b))
        if all(isinstance(z, (np.ndarray, np.generic)) for z in (x, y)) and not np.array_equal(
            x, y, equal_nan=True
        ):
            raise ArgumentError(
                "a function under ug.checkpoint gave another value when it was run again for its "
                "derivative: it reads something that was changed meanwhile, such as a loop "
                "variable or a buffer; bind it: lambda x, k=k: ..., or pass it as an argument"
            )
