"""Elementwise functions with a kink or a removable singularity.

Masks come from comparisons, which have no derivative, and the branch not taken is computed at a
harmless point, so that 0 · inf never meets a cotangent at any order.
"""

from __future__ import annotations

import builtins
from typing import Any

from unigrad.backend import Array, Backend
from unigrad.ops.operands import REAL, kind, of_dtype, operands

__all__ = ["abs", "atan2", "power", "sqrt"]

# From 0 up to this exponent power() multiplies out, so that x = 0 is regular at every order.
_LARGEST_MULTIPLIED = 4
# A whole Python number up to this size is multiplied out too; the native function rounds larger
# ones better.
_LARGEST_INT = 64


def abs(x: Any) -> Array:
    """Absolute value: ``|x|``, of any shape; both derivatives are 0 at 0.

    Raises:
        UnsupportedError: for complex arrays.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: np.sum(ug.ops.abs(x)))(np.array([-2.0, 0.0, 3.0])))
    [-1.  0.  1.]
    """
    with operands(x, real=True) as (backend, x):
        if kind(backend, x) < REAL:
            return backend.xp.abs(x)
        return absolute(backend.xp, x)


def absolute(xp: Any, x: Array) -> Array:
    """`abs` of a floating array."""
    return xp.where(x == 0, xp.zeros_like(x), xp.where(x < 0, -x, x))


def sqrt(x: Any) -> Array:
    """Square root, of any shape: value 0, derivative +inf and second derivative -inf at 0.

    The slope at 0 is infinite and not undefined, so it is not replaced by a number; for the
    length of a vector, whose derivative is pinned at 0, there is `norm`. NaN for x < 0.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.sqrt)(np.array(4.0)))
    0.25
    """
    with operands(x) as (backend, x):
        return backend.xp.sqrt(x)


def power(x: Any, y: Any) -> Array:
    """Power ``x ** y``, elementwise with broadcasting; exact in both arguments at every order.

    At ``(0, 0)`` the value is 1 and all derivatives are 0. For x <= 0 the exponent counts as a
    constant: the derivative with respect to y, which does not exist there, is 0. Derivatives
    with respect to x at x = 0 are the mathematical ones, +inf included. A negative base with a
    fractional exponent gives NaN. Integer arrays follow the framework.

    >>> import numpy as np, unigrad as ug
    >>> dx, dy = ug.grad(ug.ops.power, argnums=(0, 1))(np.array(0.0), np.array(0.0))
    >>> print(dx, dy)
    0.0 0.0
    """
    fixed = y if type(y) in (int, float) else None
    with operands(x, y) as (backend, x, y):
        xp = backend.xp
        if kind(backend, x) != REAL or kind(backend, y) != REAL:
            return xp.pow(x, y)
        if fixed is None:
            return of_dtype(backend, _power(backend, x, y), x)
        if fixed == 0:
            return xp.ones_like(x)
        if builtins.abs(fixed) <= _LARGEST_INT and fixed == int(fixed):
            result = _multiplied(x, builtins.abs(int(fixed)))
            return of_dtype(backend, result if fixed > 0 else 1 / result, x)
        return xp.pow(x, y)


def _multiplied(x: Array, n: int) -> Array:
    result = None
    while True:
        if n & 1:
            result = x if result is None else result * x
        n >>= 1
        if not n:
            return result
        x = x * x


def _power(backend: Backend, x: Array, y: Array) -> Array:
    xp = backend.xp
    x = x + xp.zeros_like(y)
    y = y + xp.zeros_like(x)
    one = xp.ones_like(x)
    positive = x > 0
    held = backend.stop_gradient(y)
    whole = xp.logical_and(
        held == xp.floor(held),
        xp.logical_and(held >= 0, held <= _LARGEST_MULTIPLIED),
    )

    # Whole exponents 0...4, by multiplication. PyTorch's own rule drops the mixed derivative 1/x
    # at y = 0, because it replaces y · x^(y-1) by a constant 0 there.
    base = xp.where(whole, x, one)
    product = one
    for k in range(_LARGEST_MULTIPLIED):
        product = product * xp.where(held > k, base, one)
    regular = xp.logical_and(xp.logical_and(whole, positive), xp.isfinite(x))
    log = xp.log(xp.where(regular, x, one))
    excess = xp.where(regular, y - held, xp.zeros_like(y))
    multiplied = product * xp.exp(excess * log)

    # Elsewhere natively: y varies above a positive base only.
    upper = xp.logical_and(positive, xp.logical_not(whole))
    lower = xp.logical_not(xp.logical_or(positive, whole))
    above = xp.pow(xp.where(upper, x, one), xp.where(upper, y, 0.5 * one))
    below = xp.pow(xp.where(lower, x, one), xp.where(lower, held, 0.5 * one))
    return xp.where(whole, multiplied, xp.where(positive, above, below))


def atan2(y: Any, x: Any) -> Array:
    """Angle of the point ``(x, y)``, elementwise with broadcasting; derivatives 0 at ``(0, 0)``.

    ``d/dy = x / (x² + y²)``, ``d/dx = -y / (x² + y²)``, without overflow or underflow.

    >>> import numpy as np, unigrad as ug
    >>> dy, dx = ug.grad(ug.ops.atan2, argnums=(0, 1))(np.array(0.0), np.array(2.0))
    >>> print(float(dy), abs(float(dx)))
    0.5 0.0
    """
    with operands(y, x, real=True) as (backend, y, x):
        xp = backend.xp
        if kind(backend, y) != REAL or kind(backend, x) != REAL:
            return xp.atan2(y, x)
        fixed_y, fixed_x = backend.stop_gradient(y), backend.stop_gradient(x)
        largest = xp.maximum(xp.abs(fixed_y), xp.abs(fixed_x))
        zero = largest == 0
        scale = scale_of(xp, largest)
        angle = xp.atan2(y / scale, xp.where(zero, xp.ones_like(largest), x / scale))
        return xp.where(zero, xp.atan2(fixed_y, fixed_x), angle)


def scale_of(xp: Any, size: Array) -> Array:
    """``size`` where dividing by it keeps squares and inverse cubes finite, else 1."""
    # Scaling costs a rounding error, so usual sizes are left alone.
    limit = float(xp.finfo(size.dtype).smallest_normal) ** (1 / 6)
    extreme = xp.logical_or(size < limit, size > 1 / limit)
    scaled = xp.logical_and(extreme, xp.logical_and(size > 0, xp.isfinite(size)))
    return xp.where(scaled, size, xp.ones_like(size))
