"""Reductions whose native derivatives are NaN where they should be a number.

Ranges are kept by scaling with constants that cancel from every derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unigrad.backend import Array, Backend
from unigrad.errors import ShapeError
from unigrad.ops.elementwise import absolute, scale_of
from unigrad.ops.operands import COMPLEX, REAL, axes_of, is_empty, kind, of_dtype, operands

__all__ = ["log_softmax", "logsumexp", "norm", "prod", "softmax", "std", "var"]

Axis = int | Sequence[int] | None


def norm(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Euclidean length ``√(Σ |x|²)`` over one, several or all axes, without over- or underflow.

    The derivative is ``x / norm(x)``; both derivatives are 0 where the norm is 0.

    Raises:
        ShapeError: for an axis that x does not have.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.norm)(np.array([3.0, 4.0])), ug.grad(ug.ops.norm)(np.zeros(2)))
    [0.6 0.8] [0. 0.]
    """
    with operands(x) as (backend, x):
        axes = axes_of(axis, len(x.shape))
        return _dropped(backend, _norm(backend, x, axes), axes, keepdims)


def _norm(backend: Backend, x: Array, axes: tuple[int, ...]) -> Array:
    xp = backend.xp
    parts = [x]
    if kind(backend, x) == COMPLEX:
        parts = [xp.real(x), xp.imag(x)]
    elif kind(backend, x) != REAL:
        parts = [x * 1.0]
    if not axes:
        if len(parts) == 1:
            return absolute(xp, parts[0])
        parts = [xp.expand_dims(p, axis=0) for p in parts]
        return xp.squeeze(_length(backend, parts, (0,)), axis=0)
    return _length(backend, parts, axes)


def _length(backend: Backend, parts: list[Array], axes: tuple[int, ...]) -> Array:
    xp = backend.xp
    size = xp.abs(backend.stop_gradient(parts[0]))
    for part in parts[1:]:
        size = xp.maximum(size, xp.abs(backend.stop_gradient(part)))
    if is_empty(size, axes):
        return xp.sqrt(xp.sum(size, axis=axes, keepdims=True))
    scale = scale_of(xp, xp.max(size, axis=axes, keepdims=True))
    squares = sum(xp.square(part / scale) for part in parts)
    total = xp.sum(squares, axis=axes, keepdims=True)
    zero = total == 0
    root = scale * xp.sqrt(xp.where(zero, xp.ones_like(total), total))
    return xp.where(zero, xp.zeros_like(total), root)


def var(x: Any, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance ``Σ (x - mean)² / (n - correction)`` over one, several or all axes.

    Args:
        correction: 0 for the variance of the numbers themselves, 1 for the unbiased estimate.

    Raises:
        ShapeError: if there are not more entries than ``correction``.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.var(np.array([1.0, 3.0])), ug.grad(ug.ops.var)(np.array([1.0, 3.0])))
    1.0 [-1.  1.]
    """
    with operands(x, real=True) as (backend, x):
        xp = backend.xp
        axes = axes_of(axis, len(x.shape))
        n = _count(backend, x, axes, correction)
        if not axes:
            return of_dtype(backend, (x - x) * 1.0, x)
        deviation = x - xp.mean(x, axis=axes, keepdims=True)
        total = xp.sum(xp.square(deviation), axis=axes, keepdims=keepdims)
        return of_dtype(backend, total / (n - correction), x)


def std(x: Any, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation ``√var(x)`` over one, several or all axes.

    Both derivatives are 0 where all entries are equal. Arguments and errors as for `var`.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.std)(np.array([1.0, 3.0])), ug.grad(ug.ops.std)(np.ones(2)))
    [-0.5  0.5] [0. 0.]
    """
    with operands(x, real=True) as (backend, x):
        xp = backend.xp
        axes = axes_of(axis, len(x.shape))
        n = _count(backend, x, axes, correction)
        if not axes:
            return of_dtype(backend, (x - x) * 1.0, x)
        # The mean of equal numbers may be off by a rounding error, which would be a direction.
        fixed = backend.stop_gradient(x)
        low = xp.min(fixed, axis=axes, keepdims=True)
        equal = low == xp.max(fixed, axis=axes, keepdims=True)
        deviation = x - xp.mean(x, axis=axes, keepdims=True)
        deviation = xp.where(equal, xp.zeros_like(deviation), deviation)
        length = _norm(backend, deviation, axes) / (n - correction) ** 0.5
        return of_dtype(backend, _dropped(backend, length, axes, keepdims), x)


def _count(backend: Backend, x: Array, axes: tuple[int, ...], correction: float) -> int:
    shape = backend.shape(x)
    n = 1
    for a in axes:
        n *= shape[a]
    if n <= correction:
        raise ShapeError(
            f"a variance with correction={correction} needs more than {correction} entries, got "
            f"{n} along the axes {axes} of the shape {shape}; type: correction=0, or another axis"
        )
    return n


def prod(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Product of the entries along one, several or all axes; exact with zeros, at every order.

    The derivative with respect to an entry is the product of all the others. The product of no
    entries is 1. Integer arrays follow the framework.

    Raises:
        ShapeError: for an axis that x does not have.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.prod)(np.array([0.0, 2.0, 3.0])))
    [6. 0. 0.]
    """
    with operands(x) as (backend, x):
        xp = backend.xp
        axes = axes_of(axis, len(x.shape))
        if not axes:
            return x + xp.zeros_like(x)
        if kind(backend, x) < REAL:
            return xp.prod(x, axis=axes, keepdims=keepdims)
        for a in axes:
            x = _multiplied(backend, x, a)
        return _dropped(backend, x, axes, keepdims)


def _multiplied(backend: Backend, x: Array, axis: int) -> Array:
    # A tree of products by halves: no division, so no 0/0, and few roundings.
    xp = backend.xp
    n = backend.shape(x)[axis]
    if n == 0:
        return xp.sum(x, axis=axis, keepdims=True) + 1

    def part(start: int, stop: int) -> Array:
        return x[(slice(None),) * axis + (slice(start, stop),)]

    while n > 1:
        half = n // 2
        product = part(0, half) * part(half, 2 * half)
        x = xp.concat([product, part(2 * half, n)], axis=axis) if n % 2 else product
        n -= half
    return x


def logsumexp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """``log Σ exp(x)`` over one, several or all axes, without overflow; the derivative is softmax.

    Entries of -inf count as absent; where all are, the value is -inf and all derivatives are 0.

    Raises:
        ShapeError: for an axis that x does not have.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.logsumexp)(np.array([1000.0, 1000.0])))
    [0.5 0.5]
    """
    with operands(x, real=True) as (backend, x):
        axes = axes_of(axis, len(x.shape))
        if not axes:
            return of_dtype(backend, x * 1.0, x)
        return _dropped(backend, log_sum_exp(backend, x, axes), axes, keepdims)


def log_sum_exp(backend: Backend, x: Array, axes: tuple[int, ...]) -> Array:
    """`logsumexp` with the axes kept."""
    xp = backend.xp
    top = _finite_max(backend, x, axes)
    total = xp.sum(xp.exp(x - top), axis=axes, keepdims=True)
    absent = total == 0
    log = xp.log(xp.where(absent, xp.ones_like(total), total)) + top
    return xp.where(absent, xp.full_like(total, float("-inf")), log)


def _finite_max(backend: Backend, x: Array, axes: tuple[int, ...]) -> Array:
    xp = backend.xp
    if is_empty(x, axes):
        return xp.sum(x, axis=axes, keepdims=True)
    top = xp.max(backend.stop_gradient(x), axis=axes, keepdims=True)
    return xp.where(xp.isfinite(top), top, xp.zeros_like(top))


def softmax(x: Any, axis: Axis = -1) -> Array:
    """``exp(x) / Σ exp(x)`` over one, several or all axes, of the shape of x, without overflow.

    Entries of -inf give 0; where all are -inf the result is NaN.

    Raises:
        ShapeError: for an axis that x does not have.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.softmax(np.array([1000.0, 1000.0])))
    [0.5 0.5]
    """
    with operands(x, real=True) as (backend, x):
        xp = backend.xp
        axes = axes_of(axis, len(x.shape))
        if not axes:
            return xp.exp(x - x)
        weights = xp.exp(x - _finite_max(backend, x, axes))
        return weights / xp.sum(weights, axis=axes, keepdims=True)


def log_softmax(x: Any, axis: Axis = -1) -> Array:
    """``x - logsumexp(x)`` over one, several or all axes, of the shape of x.

    Entries of -inf give -inf; where all are -inf the result is NaN.

    Raises:
        ShapeError: for an axis that x does not have.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.log_softmax(np.array([0.0, -1000.0])))
    [    0. -1000.]
    """
    with operands(x, real=True) as (backend, x):
        axes = axes_of(axis, len(x.shape))
        if not axes:
            return of_dtype(backend, (x - x) * 1.0, x)
        return log_probabilities(backend, x, axes)


def log_probabilities(backend: Backend, x: Array, axes: tuple[int, ...]) -> Array:
    """`log_softmax` of an array."""
    xp = backend.xp
    shifted = x - _finite_max(backend, x, axes)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axes, keepdims=True))


def _dropped(backend: Backend, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return x if keepdims or not axes else backend.xp.squeeze(x, axis=axes)
