"""scipy.special: its Python functions followed, and its ufuncs, which are followed as they are.

Every other name is SciPy's own: ``from unigrad.scipy import special`` takes the place of
``from scipy import special``.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.core import Box, Rule, stop_gradient
from unigrad.engine.primitive import primitive
from unigrad.errors import TracingError
from unigrad.scipy.arrays import as_array, as_scalar

__all__ = [
    "log_softmax",
    "logsumexp",
    "multigammaln",
    "polygamma",
    "softmax",
    "softplus",
    "spherical_in",
    "spherical_jn",
    "spherical_kn",
    "spherical_yn",
]


def __getattr__(name: str) -> Any:
    return getattr(sp, name)


def _shift(a: Any, axis: Any) -> Any:
    """The largest entries, which are subtracted before exponentials; 0 where they are infinite."""
    top = np.max(np.real(stop_gradient(a)), axis=axis, keepdims=True)
    return np.where(np.isfinite(top), top, 0.0).astype(top.dtype)


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """``log(sum(b exp(a)))`` over ``axis``, as `scipy.special.logsumexp`.

    Args:
        a: array.
        axis: an axis, several, or ``None`` for all.
        b: weights that broadcast with ``a``; a negative sum is nan, unless ``return_sign``.

    Returns:
        The logarithm of the sum, or of its absolute value, and its sign with ``return_sign``.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(logsumexp)(np.log([1.0, 3.0])).round(2)
    array([0.25, 0.75])
    """
    a = as_array(a)
    if not isinstance(a, Box) and not isinstance(b, Box):
        return sp.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)
    if a.dtype.kind == "c" and return_sign:
        raise TracingError(
            "logsumexp(..., return_sign=True) of complex numbers has no rule here; take the real "
            "and imaginary parts of logsumexp(...) instead"
        )
    if b is None:
        shift = _shift(a, axis)
        total = np.sum(np.exp(a - shift), axis=axis, keepdims=True)
    else:
        b = as_array(b)
        a = a + np.zeros(np.shape(b), a.dtype)
        none = np.equal(b, 0)
        shift = _shift(np.where(none, -np.inf, stop_gradient(a)), axis)
        # Trap: what has no weight is not among the shifted, and would overflow to 0 inf = nan.
        powers = np.where(np.logical_and(none, a - shift > 700), 700.0, a - shift)
        total = np.sum(b * np.exp(powers), axis=axis, keepdims=True)
    if not keepdims:
        total = np.squeeze(total, axis)
        shift = np.squeeze(shift, axis)
    if return_sign:
        return np.log(np.abs(total)) + shift, np.sign(total)
    return np.log(total) + shift


def softmax(x: Any, axis: Any = None) -> Any:
    """``exp(x) / sum(exp(x))`` over ``axis`` (``None``: all), as `scipy.special.softmax`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: softmax(x)[0])(np.zeros(2))
    array([ 0.25, -0.25])
    """
    x = as_array(x)
    e = np.exp(x - _shift(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """The logarithm of `softmax`, as `scipy.special.log_softmax`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: log_softmax(x)[0])(np.zeros(2))
    array([ 0.5, -0.5])
    """
    x = as_array(x)
    shifted = x - _shift(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``, as `scipy.special.softplus`.

    >>> import unigrad as ug
    >>> float(ug.grad(softplus)(0.0))
    0.5
    """
    return np.logaddexp(0.0, as_array(x))


def polygamma(n: int, x: Any) -> Any:
    """The ``n``-th derivative of digamma, ``n`` a plain integer, as `scipy.special.polygamma`.

    >>> import unigrad as ug
    >>> bool(ug.grad(lambda x: polygamma(0, x))(1.5) == polygamma(1, 1.5))
    True
    """
    n = operator.index(n)
    x = as_array(x)
    if n == 0:
        return sp.digamma(x)
    return (-1.0) ** (n + 1) * math.gamma(n + 1.0) * sp.zeta(n + 1.0, x)


def multigammaln(a: Any, d: int) -> Any:
    """Logarithm of the multivariate gamma function, as `scipy.special.multigammaln`.

    Where SciPy raises, at ``a <= (d - 1) / 2``, the result is nan.

    >>> import unigrad as ug
    >>> bool(ug.grad(lambda a: multigammaln(a, 1))(2.5) == polygamma(0, 2.5))
    True
    """
    d = operator.index(d)
    a = as_array(a)
    inside = a > 0.5 * (d - 1)
    a = np.where(inside, a, 0.5 * d)
    total = sum(sp.gammaln(a - 0.5 * j) for j in range(d))
    return as_scalar(np.where(inside, d * (d - 1) * 0.25 * math.log(math.pi) + total, np.nan))


# ------------------------------------------------------------------------- spherical Bessel

# The signs of n f_(n-1) and of (n + 1) f_(n+1) in (2 n + 1) f_n'.
_NEIGHBOURS = {
    "jn": (sp.spherical_jn, 1.0, -1.0),
    "yn": (sp.spherical_yn, 1.0, -1.0),
    "in": (sp.spherical_in, 1.0, 1.0),
    "kn": (sp.spherical_kn, -1.0, -1.0),
}


def _value(z: Any, name: str, n: Any, derivative: bool) -> Any:
    return _NEIGHBOURS[name][0](n, z, derivative)


def _slope(ans: Any, z: Any, name: str, n: Any, derivative: bool) -> Any:
    _, below, above = _NEIGHBOURS[name]
    left = _spherical(name, np.maximum(n - 1, 0), z, derivative)
    right = _spherical(name, n + 1, z, derivative)
    return (below * n * left + above * (n + 1) * right) / (2 * n + 1)


def _pull(g: Any, ans: Any, z: Any, **options: Any) -> Any:
    d = _slope(ans, z, **options)
    return g * (np.conj(d) if g.dtype.kind == "c" else d)


_bessel = primitive(Rule("scipy.special.spherical_bessel", [_pull]), _value)


def _spherical(name: str, n: Any, z: Any, derivative: bool) -> Any:
    return _bessel(as_array(z), name=name, n=np.asarray(n), derivative=derivative)


def spherical_jn(n: Any, z: Any, derivative: bool = False) -> Any:
    """Spherical Bessel function of the first kind, as `scipy.special.spherical_jn`.

    >>> import unigrad as ug
    >>> bool(ug.grad(lambda z: spherical_jn(2, z))(1.5) - spherical_jn(2, 1.5, True) < 1e-15)
    True
    """
    return _spherical("jn", n, z, derivative)


def spherical_yn(n: Any, z: Any, derivative: bool = False) -> Any:
    """Spherical Bessel function of the second kind, as `scipy.special.spherical_yn`.

    >>> import unigrad as ug
    >>> bool(abs(ug.grad(lambda z: spherical_yn(0, z))(1.5) + spherical_yn(1, 1.5)) < 1e-15)
    True
    """
    return _spherical("yn", n, z, derivative)


def spherical_in(n: Any, z: Any, derivative: bool = False) -> Any:
    """Modified spherical Bessel function of the first kind, as `scipy.special.spherical_in`.

    >>> import unigrad as ug
    >>> bool(abs(ug.grad(lambda z: spherical_in(0, z))(1.5) - spherical_in(1, 1.5)) < 1e-15)
    True
    """
    return _spherical("in", n, z, derivative)


def spherical_kn(n: Any, z: Any, derivative: bool = False) -> Any:
    """Modified spherical Bessel function of the second kind, as `scipy.special.spherical_kn`.

    >>> import unigrad as ug
    >>> bool(abs(ug.grad(lambda z: spherical_kn(0, z))(1.5) + spherical_kn(1, 1.5)) < 1e-15)
    True
    """
    return _spherical("kn", n, z, derivative)
