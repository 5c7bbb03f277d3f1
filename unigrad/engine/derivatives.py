"""The derivatives that the engine gives: `vjp`, `value_and_grad`, `jvp` of flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unigrad.engine import forward, reverse
from unigrad.engine.array import TracedArray

__all__ = ["jvp", "value_and_grad", "vjp"]


def vjp(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any]
) -> tuple[tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """Outputs of ``f(*primals)`` and their pullback, which may be called any number of times.

    Args:
        f: a function in plain NumPy, of arrays, that returns a sequence of arrays.
        primals: floating or complex arrays (anything that speaks NumPy's protocols).

    Returns:
        The outputs, and ``pullback(cotangents) -> cotangents of the primals``; ``None`` stands
        for zero on the way in and for "does not depend on it" on the way out.

    >>> import numpy as np
    >>> outputs, pullback = vjp(lambda x: (x**2,), [np.float64(3.0)])
    >>> float(pullback([np.float64(1.0)])[0])
    6.0
    """
    return reverse.vjp(f, primals, TracedArray)


def value_and_grad(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Outputs of ``f(*primals)``, and the gradient of the first, a real scalar.

    What `vjp` gives, in one go: memory is freed while the walk goes back.

    >>> import numpy as np
    >>> print(*value_and_grad(lambda x: (x**2,), [np.float64(3.0)])[1])
    6.0
    """
    return reverse.value_and_grad(f, primals, TracedArray)


def jvp(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Outputs of ``f(*primals)`` and their tangents; ``None``: an output does not move.

    >>> import numpy as np
    >>> outputs, moved = jvp(lambda x: (x**2,), [np.float64(3.0)], [np.float64(0.5)])
    >>> print(*outputs, *moved)
    9.0 3.0
    """
    return forward.jvp(f, primals, tangents, TracedArray)
