"""Elementwise functions of `namespace`, made of operators whose derivatives MXNet has right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.errors import UnsupportedError
from unigrad_mxnet.arrays import constant, public
from unigrad_mxnet.framework import mx

_mn: Any = mx.np


def cast_to(x: Any, kind: Any) -> Any:
    """``x`` with this dtype, itself if it has it already."""
    return x if np.dtype(x.dtype) == np.dtype(kind) else x.astype(kind)


def floating(x: Any) -> Any:
    """``x``, in float64 if it is of an integer or boolean dtype, as NumPy does."""
    return x if np.dtype(x.dtype).kind == "f" else x.astype("float64")


def promoted(x: Any, y: Any) -> tuple[Any, Any]:
    """Both of one dtype; a Python number takes the kind of the array beside it (NEP 50)."""
    x_is, y_is = isinstance(x, mx.nd.NDArray), isinstance(y, mx.nd.NDArray)
    if x_is and y_is:
        kind = np.promote_types(x.dtype, y.dtype)
        return cast_to(x, kind), cast_to(y, kind)
    if x_is:
        kind = _beside(x.dtype, y)
        return cast_to(x, kind), _mn.full((), y, dtype=kind, ctx=x.ctx)
    if y_is:
        y, x = promoted(y, x)
        return x, y
    made = constant(np.asarray(x)), constant(np.asarray(y))
    return promoted(*made)


def _beside(kind: Any, number: Any) -> Any:
    dtype = np.dtype(kind)
    if isinstance(number, complex):
        raise UnsupportedError("a complex number was given, but MXNet has no complex arrays")
    if isinstance(number, bool) or dtype.kind == "f":
        return dtype
    if isinstance(number, int):
        return np.dtype("int64") if dtype.kind == "b" else dtype
    return np.dtype("float64")


def _unary(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(x: Any, /) -> Any:
        return f(floating(array_of(x)))

    return public(call)


def array_of(x: Any) -> Any:
    """``x`` as an array: a number becomes a 0-d array of its NumPy dtype."""
    return x if isinstance(x, mx.nd.NDArray) else constant(np.asarray(x))


def _binary(f: Callable[[Any, Any], Any], real: bool = False) -> Callable[[Any, Any], Any]:
    def call(x1: Any, x2: Any, /) -> Any:
        x, y = promoted(x1, x2)
        return f(floating(x), floating(y)) if real else f(x, y)

    return public(call)


exp = _unary(_mn.exp)
expm1 = _unary(_mn.expm1)
log = _unary(_mn.log)
log1p = _unary(_mn.log1p)
log2 = _unary(_mn.log2)
log10 = _unary(_mn.log10)
sqrt = _unary(_mn.sqrt)
sin = _unary(_mn.sin)
cos = _unary(_mn.cos)
tan = _unary(_mn.tan)
asin = _unary(_mn.arcsin)
acos = _unary(_mn.arccos)
atan = _unary(_mn.arctan)
sinh = _unary(_mn.sinh)
cosh = _unary(_mn.cosh)
tanh = _unary(_mn.tanh)
asinh = _unary(_mn.arcsinh)
acosh = _unary(_mn.arccosh)
atanh = _unary(_mn.arctanh)


@public
def abs(x: Any, /) -> Any:
    return _mn.abs(x)


@public
def negative(x: Any, /) -> Any:
    return -x


@public
def positive(x: Any, /) -> Any:
    return x.copy()


@public
def square(x: Any, /) -> Any:
    return x * x


@public
def reciprocal(x: Any, /) -> Any:
    return 1.0 / floating(x)


@public
def sign(x: Any, /) -> Any:
    s = _mn.sign(x)
    return s if np.dtype(x.dtype).kind != "f" else where(_mn.isnan(x), x, s)


@public
def floor(x: Any, /) -> Any:
    return x if np.dtype(x.dtype).kind != "f" else _mn.floor(x)


@public
def ceil(x: Any, /) -> Any:
    return x if np.dtype(x.dtype).kind != "f" else _mn.ceil(x)


@public
def round(x: Any, /) -> Any:
    """To the nearest integer, halves to the even one (MXNet's own rounds them otherwise)."""
    if np.dtype(x.dtype).kind != "f":
        return x
    low = _mn.floor(x)
    rest = x - low
    odd = low - 2 * _mn.floor(low / 2) == 1
    up = (rest > 0.5) | ((rest == 0.5) & odd)
    return where(up, low + 1, low)


add = _binary(lambda x, y: x + y)
subtract = _binary(lambda x, y: x - y)
multiply = _binary(lambda x, y: x * y)
divide = _binary(lambda x, y: x / y, real=True)
pow = _binary(lambda x, y: x**y)
atan2 = _binary(_mn.arctan2, real=True)
maximum = _binary(_mn.maximum)
minimum = _binary(_mn.minimum)
equal = _binary(lambda x, y: x == y)
not_equal = _binary(lambda x, y: x != y)
less = _binary(lambda x, y: x < y)
less_equal = _binary(lambda x, y: x <= y)
greater = _binary(lambda x, y: x > y)
greater_equal = _binary(lambda x, y: x >= y)


@public
def logaddexp(x1: Any, x2: Any, /) -> Any:
    x, y = promoted(x1, x2)
    first = x >= y
    high = where(first, x, y)
    ordinary = _mn.isfinite(high)
    gap = where(ordinary, where(first, y - x, x - y), 0.0)
    return where(ordinary, high + _mn.log1p(_mn.exp(gap)), high)


def _truth(x: Any) -> Any:
    x = array_of(x)
    return x if np.dtype(x.dtype).kind == "b" else x != 0


def _truths(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Booleans of one shape: MXNet's ``&`` fails, later and elsewhere, where it must broadcast."""
    a, b = _truth(x1), _truth(x2)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return tuple(x if x.shape == shape else _mn.broadcast_to(x, shape) for x in (a, b))


@public
def logical_and(x1: Any, x2: Any, /) -> Any:
    a, b = _truths(x1, x2)
    return a & b


@public
def logical_or(x1: Any, x2: Any, /) -> Any:
    a, b = _truths(x1, x2)
    return a | b


@public
def logical_xor(x1: Any, x2: Any, /) -> Any:
    a, b = _truths(x1, x2)
    return a ^ b


@public
def logical_not(x: Any, /) -> Any:
    return ~_truth(x)


@public
def isnan(x: Any, /) -> Any:
    return x != x


@public
def isinf(x: Any, /) -> Any:
    return _mn.abs(x) == math.inf


@public
def isfinite(x: Any, /) -> Any:
    return _mn.abs(x) < math.inf


@public
def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """MXNet's ``where`` on arrays only: with a scalar its mask is inverted in the gradient."""
    x, y = promoted(x1, x2)
    return _mn.where(_truth(condition), x, y)


@public
def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Between ``min`` and ``max``; the derivative is 1 on both bounds."""
    for bound, below in ((min, True), (max, False)):
        if bound is not None:
            a, b = promoted(x, bound)
            x = _mn.maximum(a, b) if below else _mn.minimum(a, b)
    return x


@public
def real(x: Any, /) -> Any:
    return x.copy()


@public
def conj(x: Any, /) -> Any:
    return x.copy()


@public
def imag(x: Any, /) -> Any:
    return _mn.zeros(x.shape, dtype=x.dtype, ctx=x.ctx)
