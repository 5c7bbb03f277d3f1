"""Elementwise functions of the array API standard on tensors.

Where TensorFlow has the function under another name, it is a row of the table at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unigrad.backend import Array
from unigrad_tensorflow.promotion import operands, tensor

__all__ = [
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clip",
    "conj", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor", "greater",
    "greater_equal", "imag", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log10",
    "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor",
    "maximum", "minimum", "multiply", "negative", "not_equal", "positive", "pow", "real",
    "reciprocal", "round", "sign", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh",
    "where",
]  # fmt: skip


def _unary(name: str, function: Callable[[Array], Array]) -> Callable[[Any], Array]:
    def apply(x: Any, /) -> Array:
        return function(tensor(x))

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"``{name}`` of the array API standard."
    return apply


def _binary(name: str, function: Callable[[Array, Array], Array]) -> Callable[[Any, Any], Array]:
    def apply(x1: Any, x2: Any, /) -> Array:
        return function(*operands(x1, x2))

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"``{name}`` of the array API standard."
    return apply


def positive(x: Any, /) -> Array:
    """The same values."""
    return tf.identity(tensor(x))


def pow(x1: Any, x2: Any, /) -> Array:
    """``x1 ** x2``; a small whole Python exponent multiplies, exact at 0 to any order."""
    # The derivatives of tf.pow run through x ** (n - k): at 0 and k > n that is 0 * inf.
    if isinstance(x2, int) and not isinstance(x2, bool) and 0 <= x2 <= 32:
        base = tensor(x1)
        result = None
        while x2:
            if x2 % 2:
                result = base if result is None else result * base
            x2 //= 2
            base = base * base if x2 else base
        return tf.ones_like(base) if result is None else tf.identity(result)
    a, b = operands(x1, x2)
    return tf.pow(a, b)


def logaddexp(x1: Any, x2: Any, /) -> Array:
    """``log(exp(x1) + exp(x2))`` without overflow; slopes 1/2 and 1/2 where both are equal."""
    a, b = operands(x1, x2)
    first = a >= b
    high, low = tf.where(first, a, b), tf.where(first, b, a)
    # inf - inf is nan: equal infinities are 0 apart.
    apart = tf.where(tf.math.is_inf(high) & (high == low), tf.zeros_like(high), low - high)
    return high + tf.math.softplus(apart)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Array:
    """``x`` between ``min`` and ``max``; at a bound the slope is that of ``x``."""
    x = tensor(x)
    if min is not None:
        x = tf.maximum(*operands(x, min))
    if max is not None:
        x = tf.minimum(*operands(x, max))
    return tf.identity(x)


def where(condition: Any, x1: Any, x2: Any, /) -> Array:
    """``x1`` where ``condition`` holds, else ``x2``."""
    a, b = operands(x1, x2)
    return tf.where(tensor(condition), a, b)


def _log_to(base: float) -> Callable[[Array], Array]:
    return lambda x: tf.math.log(x) / tf.constant(math.log(base), x.dtype)


def _rounded(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: x if x.dtype.is_integer else function(x)


def _tested(function: Callable[[Array], Array], integers: bool) -> Callable[[Array], Array]:
    def test(x: Array) -> Array:
        if x.dtype.is_complex:
            join = tf.logical_and if integers else tf.logical_or
            return join(function(tf.math.real(x)), function(tf.math.imag(x)))
        return function(x) if x.dtype.is_floating else tf.fill(tf.shape(x), integers)

    return test


def _real(x: Array) -> Array:
    return tf.math.real(x) if x.dtype.is_complex else tf.identity(x)


abs = _unary("abs", tf.abs)
acos = _unary("acos", tf.acos)
acosh = _unary("acosh", tf.acosh)
asin = _unary("asin", tf.asin)
asinh = _unary("asinh", tf.asinh)
atan = _unary("atan", tf.atan)
atanh = _unary("atanh", tf.atanh)
ceil = _unary("ceil", _rounded(tf.math.ceil))
conj = _unary("conj", tf.math.conj)
cos = _unary("cos", tf.cos)
cosh = _unary("cosh", tf.cosh)
exp = _unary("exp", tf.exp)
expm1 = _unary("expm1", tf.math.expm1)
floor = _unary("floor", _rounded(tf.floor))
imag = _unary("imag", tf.math.imag)
isfinite = _unary("isfinite", _tested(tf.math.is_finite, True))
isinf = _unary("isinf", _tested(tf.math.is_inf, False))
isnan = _unary("isnan", _tested(tf.math.is_nan, False))
log = _unary("log", tf.math.log)
log10 = _unary("log10", _log_to(10.0))
log1p = _unary("log1p", tf.math.log1p)
log2 = _unary("log2", _log_to(2.0))
logical_not = _unary("logical_not", tf.logical_not)
negative = _unary("negative", tf.negative)
real = _unary("real", _real)
reciprocal = _unary("reciprocal", tf.math.reciprocal)
round = _unary("round", tf.round)
sign = _unary("sign", tf.sign)
sin = _unary("sin", tf.sin)
sinh = _unary("sinh", tf.sinh)
sqrt = _unary("sqrt", tf.sqrt)
square = _unary("square", tf.square)
tan = _unary("tan", tf.tan)
tanh = _unary("tanh", tf.tanh)

add = _binary("add", tf.add)
atan2 = _binary("atan2", tf.atan2)
divide = _binary("divide", tf.divide)
equal = _binary("equal", tf.equal)
greater = _binary("greater", tf.greater)
greater_equal = _binary("greater_equal", tf.greater_equal)
less = _binary("less", tf.less)
less_equal = _binary("less_equal", tf.less_equal)
logical_and = _binary("logical_and", tf.logical_and)
logical_or = _binary("logical_or", tf.logical_or)
logical_xor = _binary("logical_xor", tf.math.logical_xor)
maximum = _binary("maximum", tf.maximum)
minimum = _binary("minimum", tf.minimum)
multiply = _binary("multiply", tf.multiply)
not_equal = _binary("not_equal", tf.not_equal)
subtract = _binary("subtract", tf.subtract)
