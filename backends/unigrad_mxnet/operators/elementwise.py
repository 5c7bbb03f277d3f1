"""MXNet's elementwise operators: `nd`'s, `np`'s, and their variants with a scalar.

`nd`'s comparisons give numbers in the dtype of their first argument, `np`'s give bools. Where two
arguments of a maximum are equal, the derivative is the first one's, as in MXNet.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.table import Attributes, elementwise, operator

__all__ = ["constant_of", "like", "scalar", "single"]

Function = Callable[..., Any]


def like(x: Any, value: Any) -> Any:
    """A number in the dtype of ``x``: a plain one would make a 0-d float32 array float64."""
    return x.dtype.type(value)


def single(attrs: Attributes, name: str, default: float) -> float:
    """A number that MXNet keeps in float32, whatever the dtype of the arrays."""
    return float(np.float32(attrs.real(name, default)))


def scalar(x: Any, attrs: Attributes) -> Any:
    """The scalar of a scalar variant; an int where it is whole and the array is of ints."""
    value = attrs.real("scalar", 1.0)
    if x.ndim == 0 and x.dtype.kind == "f":
        return like(x, value)
    return int(value) if x.dtype.kind in "iub" and value == int(value) else value


def constant_of(fn: Function) -> Function:
    """``fn`` with derivative zero."""
    return lambda *xs: fn(*(stop_gradient(x) for x in xs))


# -------------------------------------------------------------------- of one array


def _half_away(x: Any) -> Any:
    """Rounded to whole numbers, halves away from zero."""
    return np.trunc(x + np.copysign(like(x, 0.5), x))


def _sign(x: Any) -> Any:
    return np.where(np.isnan(x), like(x, 0), np.sign(x))


def _rint(x: Any) -> Any:
    """Rounded to whole numbers, halves down."""
    return np.ceil(x - like(x, 0.5))


def _sigmoid_value(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


_sigmoid = primitive(Rule("sigmoid", derivatives=[lambda ans, x: ans * (1 - ans)]), _sigmoid_value)


def _relu(x: Any) -> Any:
    return np.where(x <= 0, like(x, 0), x)


def _softsign(x: Any) -> Any:
    return x / (1 + np.abs(x))


def _logical_not(x: Any) -> Any:
    return (x == 0).astype(x.dtype)


_ANY_NUMPY: dict[str, Function] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
    "degrees": lambda x: x * (180 / math.pi),
    "radians": lambda x: x * (math.pi / 180),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "cbrt": np.cbrt,
    "square": np.square,
    "reciprocal": lambda x: 1 / x,
    "negative": np.negative,
    "abs": np.abs,
    "sign": constant_of(_sign),
    "rint": constant_of(_rint),
    "ceil": constant_of(np.ceil),
    "floor": constant_of(np.floor),
    "trunc": constant_of(np.trunc),
    "fix": constant_of(np.trunc),
}

for _name, _fn in _ANY_NUMPY.items():
    elementwise(_name, _fn)
    elementwise("_npi_" + _name, _fn)

_OTHERS: dict[str, Function] = {
    "_npi_absolute": np.abs,
    "_npi_logical_not": constant_of(np.logical_not),
    "_npi_bitwise_not": constant_of(np.invert),
    "_npi_isnan": constant_of(np.isnan),
    "_npi_isinf": constant_of(np.isinf),
    "_npi_isfinite": constant_of(np.isfinite),
    "_npi_isposinf": constant_of(np.isposinf),
    "_npi_isneginf": constant_of(np.isneginf),
    "logical_not": constant_of(_logical_not),
    "round": constant_of(_half_away),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "rcbrt": lambda x: 1 / np.cbrt(x),
    "relu": _relu,
    "_npx_relu": _relu,
    "sigmoid": _sigmoid,
    "_npx_sigmoid": _sigmoid,
    "softsign": _softsign,
    "_contrib_div_sqrt_dim": lambda x: x / math.sqrt(x.shape[-1]),
}

for _name, _fn in _OTHERS.items():
    elementwise(_name, _fn)


def _special(name: str) -> Function:
    def call(x: Any) -> Any:
        if importlib.util.find_spec("scipy") is None:
            raise HigherOrderError(
                f"the second derivative of MXNet's {name!r} was asked for, which needs SciPy; "
                f"type: pip install unigrad[scipy]"
            )
        special = importlib.import_module("scipy.special")
        return vars(special)[name](x)

    return call


for _name in ("erf", "erfinv", "gamma", "gammaln"):
    elementwise(_name, _special(_name))
    elementwise("_npx_" + _name, _special(_name))


@operator("clip", "_npi_clip")
def _clip(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    low, high = attrs.real("a_min"), attrs.real("a_max")
    if low is not None:
        low = like(x, np.float32(low))
        x = np.where(x < low, low, x)
    if high is not None:
        high = like(x, np.float32(high))
        x = np.where(x > high, high, x)
    return [x]


@operator("smooth_l1", "_npx_smooth_l1")
def _smooth_l1(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, square = xs[0], attrs.real("scalar", 1.0) ** 2
    size = np.abs(x)
    return [np.where(size > 1 / square, size - 0.5 / square, 0.5 * square * x * x)]


@operator("hard_sigmoid")
def _hard_sigmoid(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    y = single(attrs, "alpha", 0.2) * x + single(attrs, "beta", 0.5)
    return [np.where(y <= 0, like(x, 0), np.where(y >= 1, like(x, 1), y))]


@operator("_npi_around")
def _around(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, factor = stop_gradient(xs[0]), 10.0 ** attrs.integer("decimals", 0)
    return [x if x.dtype.kind in "iu" else _half_away(x * factor) / factor]


@operator("_npi_nan_to_num")
def _nan_to_num(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    if x.dtype.kind != "f":
        return [x]
    limits = np.finfo(x.dtype)
    nan, high, low = (
        attrs.real("nan", 0.0),
        attrs.real("posinf", float(limits.max)),
        attrs.real("neginf", float(limits.min)),
    )
    x = np.where(np.isnan(x), like(x, nan), x)
    x = np.where(np.isposinf(x), like(x, high), x)
    return [np.where(np.isneginf(x), like(x, low), x)]


@operator("_contrib_quadratic")
def _quadratic(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    a, b, c = (single(attrs, name, 0.0) for name in "abc")
    return [(a * xs[0] + b) * xs[0] + c]


# -------------------------------------------------------------------- of two


def _is_number(x: Any) -> bool:
    """A scalar of Python's: NumPy's float64 is a float too, but has a dtype."""
    return type(x) in (int, float)


def _maximum(x: Any, y: Any) -> Any:
    x, y = _pair(x, y)
    return np.where((x >= y) | np.isnan(x), x, y)


def _minimum(x: Any, y: Any) -> Any:
    x, y = _pair(x, y)
    return np.where((x <= y) | np.isnan(x), x, y)


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Numbers as arrays' scalars; ints beside floats in their precision, unlike NumPy's."""
    if _is_number(x):
        return like(y, x) if y.dtype.kind == "f" else x, y
    if _is_number(y):
        return x, like(x, y) if x.dtype.kind == "f" else y
    if x.dtype.kind == "f" and y.dtype.kind in "iub":
        return x, y.astype(x.dtype)
    if y.dtype.kind == "f" and x.dtype.kind in "iub":
        return x.astype(y.dtype), y
    return x, y


def _mixed(fn: Function) -> Function:
    return lambda x, y: fn(*_pair(x, y))


def _divide(x: Any, y: Any) -> Any:
    x, y = _pair(x, y)
    return x / y


def _nd_divide(x: Any, y: Any) -> Any:
    """``nd`` divides ints to ints, towards zero."""
    kinds = {np.asarray(x).dtype.kind if _is_number(x) else x.dtype.kind}
    if not _is_number(y):
        kinds.add(y.dtype.kind)
    if kinds <= set("iu"):
        return np.trunc(x / y).astype(x.dtype if _is_number(y) else y.dtype)
    return _divide(x, y)


def _compared(fn: Function) -> Function:
    """A comparison with the numbers 1 and 0 as results, as in ``nd``."""

    def call(x: Any, y: Any) -> Any:
        dtype = y.dtype if _is_number(x) else x.dtype
        return fn(stop_gradient(x), stop_gradient(y)).astype(dtype)

    return call


def _copysign(x: Any, y: Any) -> Any:
    """``|x|`` with the sign of ``y``, which has no derivative; -0 is positive, nan is -x."""
    x, y = _pair(x, y)
    size, y = np.abs(x), stop_gradient(y)
    return np.where(y >= 0, size, np.where(y < 0, -size, -x))


def _mod(x: Any, y: Any) -> Any:
    """The remainder, and 0 for the divisor 0."""
    x, y = _pair(x, y)
    if _is_number(y):
        return np.mod(x, y) if y else x * 0
    return np.where(y == 0, y.dtype.type(0), np.mod(x, np.where(y == 0, y.dtype.type(1), y)))


def _ldexp(x: Any, y: Any) -> Any:
    x, y = _pair(x, y)
    return x * np.power(2.0, y).astype(x.dtype)


_COMPARISONS: dict[str, Function] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "lesser": np.less,
    "lesser_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}

_ND: dict[str, tuple[Function, tuple[str, ...]]] = {
    "add": (_mixed(np.add), ("elemwise_add", "_grad_add", "broadcast_plus", "_plus", "_add")),
    "sub": (_mixed(np.subtract), ("elemwise_sub", "broadcast_minus", "_minus", "_sub")),
    "mul": (_mixed(np.multiply), ("elemwise_mul", "_mul")),
    "div": (_nd_divide, ("elemwise_div", "_div", "_scatter_elemwise_div")),
    "mod": (_mod, ("_mod",)),
    "power": (_mixed(np.power), ("_power",)),
    "maximum": (_maximum, ("_maximum",)),
    "minimum": (_minimum, ("_minimum",)),
    "hypot": (_mixed(np.hypot), ("_hypot",)),
    **{name: (_compared(fn), ("_" + name,)) for name, fn in _COMPARISONS.items()},
}
"""Operators of two arrays; ``broadcast_`` and the names that follow."""

for _name, (_fn, _aliases) in _ND.items():
    for _full in ("broadcast_" + _name, *_aliases):
        elementwise(_full, _fn)

_NP: dict[str, Function] = {
    "add": _mixed(np.add),
    "subtract": _mixed(np.subtract),
    "multiply": _mixed(np.multiply),
    "true_divide": _divide,
    "mod": _mod,
    "power": _mixed(np.power),
    "maximum": _maximum,
    "minimum": _minimum,
    "hypot": _mixed(np.hypot),
    "arctan2": _mixed(np.arctan2),
    "copysign": _copysign,
    "ldexp": _ldexp,
    "equal": constant_of(np.equal),
    "not_equal": constant_of(np.not_equal),
    "greater": constant_of(np.greater),
    "greater_equal": constant_of(np.greater_equal),
    "less": constant_of(np.less),
    "less_equal": constant_of(np.less_equal),
    "bitwise_and": constant_of(np.bitwise_and),
    "bitwise_or": constant_of(np.bitwise_or),
    "bitwise_xor": constant_of(np.bitwise_xor),
    "lcm": constant_of(np.lcm),
}

_REVERSED = ("subtract", "true_divide", "mod", "power", "arctan2", "copysign", "ldexp")
"""Those that are not symmetric: ``_npi_r<name>_scalar`` has the scalar first."""


def _scalar_variants(name: str, reversed_name: str | None, fn: Function) -> None:
    @operator(name)
    def _right(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        return [fn(xs[0], scalar(xs[0], attrs))]

    if reversed_name is not None:

        @operator(reversed_name)
        def _left(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
            return [fn(scalar(xs[0], attrs), xs[0])]


for _name, _fn in _NP.items():
    elementwise("_npi_" + _name, _fn)
    _scalar_variants(
        f"_npi_{_name}_scalar",
        f"_npi_r{_name}_scalar" if _name in _REVERSED else None,
        _fn,
    )

for _short, _name in {"plus": "add", "minus": "sub", "mul": "mul", "div": "div"}.items():
    _scalar_variants(f"_{_short}_scalar", f"_r{_short}_scalar", _ND[_name][0])
for _name in ("mod", "power"):
    _scalar_variants(f"_{_name}_scalar", f"_r{_name}_scalar", _ND[_name][0])
for _name in ("maximum", "minimum", "hypot", *_COMPARISONS):
    _scalar_variants(f"_{_name}_scalar", None, _ND[_name][0])
_scalar_variants("_scatter_plus_scalar", None, _ND["add"][0])
_scalar_variants("_scatter_minus_scalar", None, _ND["sub"][0])


@operator("add_n", "ElementWiseSum")
def _add_n(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return [total]


# -------------------------------------------------------------------- copies, declared derivatives


@operator(
    "_copy", "identity", "_np_copy", "_copyto", "_npi_copyto", "_identity_with_attr_like_rhs",
    "_npi_share_memory",
)  # fmt: skip
def _identity(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [xs[0]]


@operator("Cast", "cast", "_npi_cast", "_npx_cast", "amp_cast")
def _cast(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [xs[0].astype(attrs.text("dtype", "float32"))]


@operator("amp_multicast")
def _multicast(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    choose = min if attrs.flag("cast_narrow") else max
    dtype = choose((x.dtype for x in xs), key=lambda d: d.itemsize)
    return [x.astype(dtype) for x in xs]


@operator("BlockGrad", "stop_gradient")
def _block_grad(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [stop_gradient(xs[0])]


@operator("_contrib_round_ste")
def _round_ste(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_straight_round(xs[0])]


@operator("_contrib_sign_ste")
def _sign_ste(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_straight_sign(xs[0])]


_straight_round = primitive(Rule("round_ste", [lambda g, ans, x: g]), _half_away)
_straight_sign = primitive(Rule("sign_ste", [lambda g, ans, x: g]), np.sign)


@operator("_contrib_gradientmultiplier")
def _gradient_multiplier(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_multiplied(xs[0], factor=attrs.real("scalar", 1.0))]


def _same(x: Any, **options: Any) -> Any:
    return x.copy()


_multiplied = primitive(Rule("gradientmultiplier", [lambda g, ans, x, factor: g * factor]), _same)

_loss = primitive(Rule("make_loss", [lambda g, ans, x: np.ones_like(x)], linear=True), _same)
"""Whatever the cotangent, it passes 1: MXNet's by design. A tangent passes as it is."""


@operator("make_loss")
def _make_loss(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_loss(xs[0])]


@operator("MakeLoss")
def _make_loss_scaled(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, factor = xs[0], attrs.real("grad_scale", 1.0)
    normalization = attrs.text("normalization", "null")
    if normalization == "batch":
        factor = factor / x.shape[0]
    elif normalization == "valid":
        counted = stop_gradient(x) > attrs.real("valid_thresh", 0.0)
        factor = factor / np.maximum(np.sum(counted), 1)
    return [_loss(_scaled(x, factor))]


def _scaled_value(x: Any, factor: Any) -> Any:
    return x.copy()


_scaled = primitive(Rule("grad_scale", [lambda g, ans, x, factor: g * factor, None]), _scaled_value)
