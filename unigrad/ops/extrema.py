"""Maxima and minima, with the derivative at a tie given to the first of those that tie.

Which entry wins is found by comparisons on values that count as constants; the value is then
selected by that mask, so that the second derivative is exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from unigrad.backend import Array, Backend
from unigrad.errors import ShapeError
from unigrad.ops.operands import REAL, axes_of, choice, is_empty, kind, operands

__all__ = ["Ties", "clip", "max", "maximum", "min", "minimum"]

Ties: TypeAlias = Literal["first", "split"]


def maximum(x: Any, y: Any) -> Array:
    """Larger of x and y, elementwise with broadcasting; at a tie all goes to the first argument.

    ``d/dx = 1 if x >= y else 0``, ``d/dy = 1 - d/dx``. NaN if either is.

    >>> import numpy as np, unigrad as ug
    >>> dx, dy = ug.grad(ug.ops.maximum, argnums=(0, 1))(np.array(1.0), np.array(1.0))
    >>> print(dx, dy)
    1.0 0.0
    """
    with operands(x, y, real=True) as (backend, x, y):
        # x != x finds a NaN in arrays of any dtype, integers included.
        return backend.xp.where(x >= y, x, backend.xp.where(x != x, x, y))


def minimum(x: Any, y: Any) -> Array:
    """Smaller of x and y, elementwise with broadcasting; at a tie all goes to the first argument.

    ``d/dx = 1 if x <= y else 0``, ``d/dy = 1 - d/dx``. NaN if either is.

    >>> import numpy as np, unigrad as ug
    >>> dx, dy = ug.grad(ug.ops.minimum, argnums=(0, 1))(np.array(1.0), np.array(1.0))
    >>> print(dx, dy)
    1.0 0.0
    """
    with operands(x, y, real=True) as (backend, x, y):
        return backend.xp.where(x <= y, x, backend.xp.where(x != x, x, y))


def clip(x: Any, low: Any = None, high: Any = None) -> Array:
    """``min(max(x, low), high)``, elementwise with broadcasting; ``None`` leaves a side open.

    The bounds are inclusive: the derivative with respect to x is 1 at both of them, and that
    with respect to a bound is 1 where it is strictly exceeded. NaN if x is.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: np.sum(ug.ops.clip(x, 0.0, 1.0)))(np.array([-1.0, 0.0, 1.0, 2.0])))
    [0. 1. 1. 0.]
    """
    result = x if low is None else maximum(x, low)
    if high is not None:
        return minimum(result, high)
    with operands(result) as (_, same):
        return same


def max(
    x: Any,
    axis: int | Sequence[int] | None = None,
    *,
    keepdims: bool = False,
    ties: Ties = "first",
) -> Array:
    """Largest entry along one, several or all axes.

    Args:
        axis: an int, a tuple of ints, or ``None`` for all.
        ties: ``"first"`` gives the whole derivative to the first of equal entries (in row-major
            order), ``"split"`` shares it equally among them.

    Raises:
        ShapeError: for an axis that x does not have, or of length 0.

    NaN if any entry is. Integer arrays follow the framework.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.max)(np.array([1.0, 1.0, 0.0])))
    [1. 0. 0.]
    """
    with operands(x, real=True) as (backend, x):
        return extremum(backend, backend.xp.max, x, axis, keepdims, ties)


def min(
    x: Any,
    axis: int | Sequence[int] | None = None,
    *,
    keepdims: bool = False,
    ties: Ties = "first",
) -> Array:
    """Smallest entry along one, several or all axes; arguments and rules as for `max`.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: ug.ops.min(x, ties="split"))(np.array([1.0, 1.0, 2.0])))
    [0.5 0.5 0. ]
    """
    with operands(x, real=True) as (backend, x):
        return extremum(backend, backend.xp.min, x, axis, keepdims, ties)


def extremum(
    backend: Backend,
    native: Any,
    x: Array,
    axis: int | Sequence[int] | None,
    keepdims: bool,
    ties: Ties,
) -> Array:
    """`max` or `min`, whichever ``native`` is."""
    choice("ties", ties, ("first", "split"))
    xp = backend.xp
    axes = axes_of(axis, len(x.shape))
    if not axes:
        return x + xp.zeros_like(x)
    if is_empty(x, axes):
        raise ShapeError(
            f"the extremum of no entries was asked for: axis={axis} of the shape "
            f"{backend.shape(x)} has length 0; type: another axis=, or leave empty arrays out"
        )
    if kind(backend, x) != REAL:
        return native(x, axis=axes, keepdims=keepdims)
    if ties == "split":
        result = _shared(backend, native, x, axes)
    else:
        result = x
        # From the last axis to the first: the winner is the first in row-major order.
        for a in reversed(axes):
            result = _first(backend, native, result, a)
    return result if keepdims else xp.squeeze(result, axis=axes)


def _winners(backend: Backend, native: Any, fixed: Array, axes: tuple[int, ...]) -> Array:
    # The native maximum may or may not notice a NaN, so NaNs are looked for here.
    xp = backend.xp
    nan = fixed != fixed
    found = xp.any(nan, axis=axes, keepdims=True)
    return xp.where(found, nan, fixed == native(fixed, axis=axes, keepdims=True))


def _first(backend: Backend, native: Any, x: Array, axis: int) -> Array:
    xp = backend.xp
    hit = _winners(backend, native, backend.stop_gradient(x), (axis,))
    first = xp.logical_and(hit, xp.cumulative_sum(xp.astype(hit, xp.int32), axis=axis) == 1)
    return xp.sum(xp.where(first, x, xp.zeros_like(x)), axis=axis, keepdims=True)


def _shared(backend: Backend, native: Any, x: Array, axes: tuple[int, ...]) -> Array:
    xp = backend.xp
    fixed = backend.stop_gradient(x)
    zeros = xp.zeros_like(x)
    hit = _winners(backend, native, fixed, axes)
    count = xp.sum(xp.where(hit, xp.ones_like(x), zeros), axis=axes, keepdims=True)
    mean = xp.sum(xp.where(hit, x, zeros), axis=axes, keepdims=True) / count
    # The mean of three equal numbers may be off by a rounding error; the extremum may not.
    exact = native(fixed, axis=axes, keepdims=True)
    drift = xp.where(xp.isfinite(mean), mean - backend.stop_gradient(mean), xp.zeros_like(mean))
    return xp.where(xp.isfinite(mean), exact + drift, mean)
