"""Activation, LeakyReLU and the softmax family.

Where a branch is not taken its function is given a harmless argument: 0 times infinity is not 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.elementwise import single
from unigrad_mxnet.operators.table import OPERATORS, Attributes, operator

__all__ = ["log_softmax", "relu", "softmax"]

# ------------------------------------------------------------------------- the normal distribution


def _erfc() -> Callable[[Any], Any]:
    if importlib.util.find_spec("scipy") is not None:
        found: Callable[[Any], Any] = vars(importlib.import_module("scipy.special"))["erfc"]
        return found
    return np.vectorize(math.erfc, otypes=[float])


def _normal_cdf_value(x: Any) -> Any:
    return (0.5 * _erfc()(x * -math.sqrt(0.5))).astype(x.dtype)


def _normal_density(ans: Any, x: Any) -> Any:
    return np.exp(x * x * -0.5) * math.sqrt(0.5 / math.pi)


_normal_cdf = primitive(
    Rule("the normal distribution function", derivatives=[_normal_density]), _normal_cdf_value
)

# ------------------------------------------------------------------------- activations


relu = primitive(
    Rule("relu", derivatives=[lambda ans, x: np.greater(ans, 0)]), lambda x: np.maximum(x, 0)
)
"""Its derivative is a mask: a product with one is much faster than ``numpy.where``."""


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, x.dtype.type(0))


def _below(x: Any) -> Any:
    """``x`` where it is not positive, else 0."""
    return np.where(x > 0, x.dtype.type(0), x)


def _leaky(x: Any, slope: Any) -> Any:
    return np.where(x > 0, x, slope * x)


def _elu(x: Any, slope: float) -> Any:
    return np.where(x > 0, x, slope * np.expm1(_below(x)))


_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


@operator("Activation", "_npx_activation")
def _activation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    kind = attrs.text("act_type")
    if kind == "softrelu":
        return [_softplus(xs[0])]
    if kind == "relu":
        return [relu(xs[0])]
    if kind in ("sigmoid", "tanh", "softsign"):
        return OPERATORS[kind](xs, Attributes({}), training)
    raise HigherOrderError(
        f"Activation with act_type={kind!r} has no translation; write the function in mx.nd"
    )


@operator("LeakyReLU", "_npx_leaky_relu")
def _leaky_relu(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    kind = attrs.text("act_type", "leaky")
    if kind == "leaky":
        return [_leaky(x, single(attrs, "slope", 0.25))]
    if kind == "elu":
        return [_elu(x, single(attrs, "slope", 0.25))]
    if kind == "selu":
        return [_SELU_SCALE * _elu(x, _SELU_ALPHA)]
    if kind == "gelu":
        return [x * _normal_cdf(x)]
    if kind == "prelu":
        gamma = xs[1]
        if x.ndim > 1 and gamma.shape != x.shape:
            gamma = gamma.reshape(-1, *(1,) * (x.ndim - 2))
        return [_leaky(x, gamma)]
    if kind == "rrelu" and not training:
        bounds = single(attrs, "lower_bound", 0.125), single(attrs, "upper_bound", 0.334)
        return [_leaky(x, sum(bounds) / 2)]
    raise HigherOrderError(
        f"LeakyReLU with act_type={kind!r} has no translation in training mode; "
        f"type: act_type='leaky', or prelu"
    )


# ------------------------------------------------------------------------- softmax


def softmax(x: Any, axis: int = -1) -> Any:
    """``exp(x) / sum exp(x)`` along an axis."""
    e = np.exp(x - stop_gradient(np.max(stop_gradient(x), axis=axis, keepdims=True)))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """``x - log sum exp(x)`` along an axis."""
    z = x - stop_gradient(np.max(stop_gradient(x), axis=axis, keepdims=True))
    return z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))


def _input(x: Any, attrs: Attributes, sign: int) -> Any:
    """The scores: tempered, with their sign, in the dtype that was asked for."""
    temperature = attrs.real("temperature", 1.0)
    if sign < 0:
        x = -x
    if temperature != 1.0:
        x = x / temperature
    return x


def _typed(y: Any, attrs: Attributes) -> Any:
    dtype = attrs.text("dtype")
    return y if dtype is None or y.dtype == dtype else y.astype(dtype)


def _within(x: Any, lengths: Any, axis: int) -> Any:
    """Which entries lie before the end of their row."""
    axis %= x.ndim
    place = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - axis - 1))
    return place < np.expand_dims(stop_gradient(lengths), axis)


def _masked(fn: Callable[[Any, int], Any], x: Any, mask: Any, axis: int, outside: float) -> Any:
    """``fn`` of the entries in the mask, and a constant elsewhere; all may be outside."""
    some = np.any(mask, axis=axis, keepdims=True)
    low = stop_gradient(np.min(stop_gradient(x), axis=axis, keepdims=True))
    far = x.dtype.type(1000)  # exp(-1000) is 0 in every dtype
    y = fn(np.where(mask | ~some, x, low - far), axis)
    return np.where(mask, y, x.dtype.type(outside))


def _family(fn: Callable[[Any, int], Any], sign: int) -> Any:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        axis = attrs.integer("axis", -1)
        x = _input(xs[0], attrs, sign)
        if attrs.flag("use_length"):
            return [_typed(_masked(fn, x, _within(x, xs[1], axis), axis, 0.0), attrs)]
        return [_typed(fn(x, axis), attrs)]

    return translation


operator("softmax", "_npx_softmax")(_family(softmax, 1))
operator("softmin")(_family(softmax, -1))
operator("log_softmax", "_npx_log_softmax")(_family(log_softmax, 1))


@operator("SoftmaxActivation")
def _softmax_activation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    if attrs.text("mode", "instance") == "channel":
        return [softmax(x, 1)]
    if x.ndim > 2:  # its two kernels give different values there
        raise HigherOrderError(
            f"SoftmaxActivation of the shape {x.shape} has no translation; type: "
            f"mx.nd.softmax(x, axis=...)"
        )
    return [softmax(x)]
