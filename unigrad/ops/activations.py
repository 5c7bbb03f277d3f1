"""Activation functions: exact at both ends of the number line, one derivative at the kink.

Each is stable on either side of 0 and the sides meet with equal derivatives, so that the smooth
ones are smooth in floating point too.
"""

from __future__ import annotations

import math
from typing import Any

from unigrad.backend import Array, Backend
from unigrad.errors import ShapeError
from unigrad.ops.extrema import Ties, extremum
from unigrad.ops.operands import choice, of_dtype, one_axis, operands

__all__ = ["gelu", "leaky_relu", "maxout", "relu", "sigmoid", "silu", "softplus"]


def relu(x: Any) -> Array:
    """Rectifier: ``x if x > 0 else 0``, of any shape; both derivatives are 0 at 0.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: np.sum(ug.ops.relu(x)))(np.array([-1.0, 0.0, 2.0])))
    [0. 0. 1.]
    """
    with operands(x, real=True) as (backend, x):
        # Written so that NaN is kept.
        return backend.xp.where(x <= 0, backend.xp.zeros_like(x), x)


def leaky_relu(x: Any, slope: Any = 0.01) -> Array:
    """Leaky rectifier: ``x if x > 0 else slope · x``; the derivative at 0 is the slope.

    Args:
        slope: a number, or an array that broadcasts with x and may be differentiated.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: np.sum(ug.ops.leaky_relu(x, 0.1)))(np.array([-1.0, 0.0, 2.0])))
    [0.1 0.1 1. ]
    """
    with operands(x, slope, real=True) as (backend, x, slope):
        xp = backend.xp
        positive = x > 0
        return xp.where(positive, x, slope * xp.where(positive, xp.zeros_like(x), x))


def sigmoid(x: Any) -> Array:
    """Logistic function: ``1 / (1 + exp(-x))``, of any shape, with full accuracy in both tails.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.sigmoid(np.array(0.0)), ug.grad(ug.ops.sigmoid)(np.array(0.0)))
    0.5 0.25
    """
    with operands(x, real=True) as (backend, x):
        return logistic(backend, x)


def logistic(backend: Backend, x: Array) -> Array:
    """`sigmoid` of an array."""
    xp = backend.xp
    positive = x >= 0
    tail = xp.exp(xp.where(positive, -x, x))
    return of_dtype(backend, xp.where(positive, xp.ones_like(tail), tail) / (1 + tail), x)


def softplus(x: Any) -> Array:
    """Smooth rectifier: ``log(1 + exp(x))``, of any shape, without overflow.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.softplus)(np.array(0.0)), ug.ops.softplus(np.array(1000.0)))
    0.5 1000.0
    """
    with operands(x, real=True) as (backend, x):
        xp = backend.xp
        positive = x >= 0
        return xp.where(positive, x, xp.zeros_like(x)) + log_tail(xp, x, positive)


def log_tail(xp: Any, x: Array, positive: Array) -> Array:
    """``log(1 + exp(-|x|))``, where ``positive`` says which side of 0 is meant."""
    return xp.log1p(xp.exp(xp.where(positive, -x, x)))


def silu(x: Any) -> Array:
    """Sigmoid-weighted linear unit, or swish: ``x · sigmoid(x)``, of any shape.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(ug.ops.silu)(np.array(0.0)))
    0.5
    """
    with operands(x, real=True) as (backend, x):
        return x * logistic(backend, x)


def gelu(x: Any, *, approximate: str = "none") -> Array:
    """Gaussian error linear unit: ``x · Φ(x)``, Φ the standard normal distribution function.

    Args:
        approximate: ``"none"`` for Φ itself, ``"tanh"`` for
            ``Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2``.

    Not every framework has an error function in float64, so Φ is computed here, to the accuracy
    of the dtype; its derivatives are exact up to the sixth. Hendrycks and Gimpel (2016),
    arXiv:1606.08415.

    >>> import numpy as np, unigrad as ug
    >>> print(f"{ug.ops.gelu(np.array(1.0)):.6f}", ug.grad(ug.ops.gelu)(np.array(0.0)))
    0.841345 0.5
    """
    choice("approximate", approximate, ("none", "tanh"))
    with operands(x, real=True) as (backend, x):
        if approximate == "none":
            return of_dtype(backend, x * _normal_cdf(backend, x), x)
        u = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        # (1 + tanh u) / 2, without cancellation in the left tail.
        return of_dtype(backend, x * logistic(backend, 2 * u), x)


# Chebyshev coefficients of (u + 4) exp(u²/2) Φ(-u) in t = (u - 4) / (u + 4), for u >= 0,
# computed with 40 digits from erfc; the next one is below 1e-17.
_MILLS = (
    0.9704512045660766, -0.7517088168395706, 0.22219355567525104, -0.048517753260446085,
    0.006925920496242481, -0.00032059847439814995, -0.00010054739163210679,
    1.8903369019706965e-05, 1.010356885474631e-06, -6.145334749397824e-07,
    -3.3810201200691756e-09, 2.0686508061742833e-08, -1.1282603632469507e-10,
    -7.774015228388695e-10, -9.941424191404708e-12, 3.174482949858303e-11,
    1.842480684470494e-12, -1.3128616466710965e-12, -1.7415362652654813e-13,
    4.9072740317044244e-14, 1.2931384326165576e-14, -1.2180663521726341e-15,
    -8.052147372620933e-16, -2.8604941442616213e-17, 4.057064424335354e-17,
)  # fmt: skip
# Gauss-Legendre nodes and weights on [0, 1].
_GAUSS = (
    (0.5 - math.sqrt(0.15), 5 / 18),
    (0.5, 8 / 18),
    (0.5 + math.sqrt(0.15), 5 / 18),
)
# From here on Φ is 0 or 1 in float64.
_FAR = 40.0


def _normal_cdf(backend: Backend, x: Array) -> Array:
    xp = backend.xp
    x = xp.where(x > _FAR, xp.full_like(x, _FAR), xp.where(x < -_FAR, xp.full_like(x, -_FAR), x))
    fixed = backend.stop_gradient(x)
    # Φ(x) = Φ(fixed) + ∫ of the density from fixed to x: an interval of length 0 whose
    # derivatives are those of Φ, and three nodes have the first six of them exactly.
    step = x - fixed
    density = xp.zeros_like(x)
    for node, weight in _GAUSS:
        at = fixed + node * step
        density = density + weight / math.sqrt(2 * math.pi) * xp.exp(-0.5 * at * at)
    return _normal_cdf_value(xp, fixed) + step * density


def _normal_cdf_value(xp: Any, x: Array) -> Array:
    size = xp.abs(x)
    t = (size - 4) / (size + 4)
    last, before = xp.zeros_like(x), xp.zeros_like(x)
    for coefficient in _MILLS[:0:-1]:
        last, before = coefficient + 2 * t * last - before, last
    tail = (_MILLS[0] + t * last - before) / (size + 4) * xp.exp(-0.5 * x * x)
    return xp.where(x > 0, 1 - tail, tail)


def maxout(z: Any, pieces: int, axis: int = -1, *, ties: Ties = "first") -> Array:
    """Maxout units: ``h_i = max_j z_ij`` over the ``pieces`` values j that belong to unit i.

    The derivative is ``dh_i/dz_ij = 1`` for ``j = argmax_j z_ij`` (the first of equal ones, or
    shared with ``ties="split"``) and 0 for every other piece; the second derivative is 0.

    Args:
        z: the axis has length ``units · pieces``; the pieces of a unit lie next to each other,
            ``z_ij = z[..., i · pieces + j, ...]``.
        pieces: how many linear pieces a unit has.

    Returns:
        An array whose axis has length ``units``.

    Raises:
        ShapeError: if the axis is not a whole number of units long.

    Goodfellow et al. (2013), arXiv:1302.4389.

    >>> import numpy as np, unigrad as ug
    >>> z = np.array([1.0, 3.0, 2.0, 2.0])
    >>> print(ug.ops.maxout(z, 2), ug.grad(lambda z: np.sum(ug.ops.maxout(z, 2)))(z))
    [3. 2.] [0. 1. 1. 0.]
    """
    with operands(z, real=True) as (backend, z):
        shape = backend.shape(z)
        a = one_axis(axis, len(shape))
        if pieces < 1 or shape[a] % pieces:
            raise ShapeError(
                f"maxout with pieces={pieces} needs an axis of a multiple of that length, got "
                f"axis {axis} of the shape {shape}; type: a layer of units * pieces outputs"
            )
        split = (*shape[:a], shape[a] // pieces, pieces, *shape[a + 1 :])
        return extremum(backend, backend.xp.max, backend.xp.reshape(z, split), a + 1, False, ties)
