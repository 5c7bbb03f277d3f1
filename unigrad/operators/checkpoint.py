"""Memory for time: a function whose inner values are computed again on the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from unigrad import trees
from unigrad.errors import ArgumentError
from unigrad.operators.control import custom_vjp, is_smooth
from unigrad.operators.first_order import vjp
from unigrad.registry import backend_of

__all__ = ["checkpoint"]


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function and derivatives; its inner values are recomputed instead of kept.

    Between the call and the way back only the arguments are kept, and ``f`` runs once more for
    each pullback (the documented exception to S9). Everything that is differentiated must be an
    argument, not a variable of an enclosing function.

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

        def backward(kept: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
            leaves, treedef = trees.flatten(kept)
            backend = backend_of(leaves)
            smooth = [i for i, x in enumerate(leaves) if is_smooth(backend, x)]

            def of_smooth(*xs: Any) -> Any:
                full = list(leaves)
                for i, x in zip(smooth, xs, strict=True):
                    full[i] = x
                return fixed(*trees.unflatten(treedef, full))

            _, pullback = vjp(of_smooth, *(leaves[i] for i in smooth))
            grads = list(leaves)  # what is not smooth has no cotangent: any leaf will do
            for i, grad in zip(smooth, pullback(cotangent), strict=True):
                grads[i] = grad
            return tuple(trees.unflatten(treedef, grads))

        rule = custom_vjp(fixed)
        rule.defvjp(lambda *xs: (fixed(*xs), xs), backward)
        return rule(*args)

    return recomputed
