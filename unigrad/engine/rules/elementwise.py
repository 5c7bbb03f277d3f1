"""Rules of functions that act entry by entry: ufuncs, ``where``, ``clip``, parts of complex.

At kinks: abs and sign give 0; ties of maximum and minimum are split evenly; clip passes at its
bounds; quotients 0/0 of the rules (hypot, arctan2 at the origin) are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.array import TracedArray, astype
from unigrad.engine.core import Rule, apply, primal
from unigrad.engine.table import FUNCTIONS, composite, elementwise, function, refuse, ufunc
from unigrad.errors import TracingError

__all__ = ["conjugate", "direction", "quotient"]

LN2, LN10 = np.log(2.0).item(), np.log(10.0).item()


def conjugate(x: Any) -> Any:
    """The complex conjugate; a real array itself, not a copy."""
    return np.conj(x) if np.iscomplexobj(x) else x


def quotient(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where ``b`` is 0, with finite derivatives there."""
    zero = b == 0
    return np.where(zero, 0.0, a / np.where(zero, 1.0, b)) if np.any(zero) else a / b


def direction(x: Any) -> Any:
    """``x / |x|``, and 0 at 0: the sign of a real number, the phase of a complex one."""
    return quotient(x, np.abs(x)) if np.iscomplexobj(x) else np.sign(x)


# ------------------------------------------------------------------------- arithmetic

ufunc("add", lambda g, ans, x, y, **_: g, lambda g, ans, x, y, **_: g, linear=True)
ufunc("subtract", lambda g, ans, x, y, **_: g, lambda g, ans, x, y, **_: -g, linear=True)
ufunc(
    "multiply",
    lambda g, ans, x, y, **_: g * (y if ans.dtype.kind == "f" else conjugate(y)),
    lambda g, ans, x, y, **_: g * (x if ans.dtype.kind == "f" else conjugate(x)),
)
elementwise("divide", lambda ans, x, y: 1.0 / y, lambda ans, x, y: -ans / y)
ufunc("positive", lambda g, ans, x, **_: g, linear=True)
ufunc("negative", lambda g, ans, x, **_: -g, linear=True)


def _zero(g: Any, ans: Any, *_: Any, **__: Any) -> Any:
    return np.zeros_like(g)


ufunc("floor_divide", _zero, _zero)
elementwise("remainder", lambda ans, x, y: 1.0, lambda ans, x, y: -np.floor_divide(x, y))
elementwise("fmod", lambda ans, x, y: 1.0, lambda ans, x, y: -np.trunc(x / y))


def _power_base(ans: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)):
        if y == 2:
            return 2 * x
        if y in (0, 1):
            return float(y)
        return y * x ** (y - 1)
    # Trap: 0**0 has derivative 0 in the base, but y * x**(y-1) is 0 * inf there.
    both = (x == 0) & (y == 0)
    return y * np.power(np.where(both, 1.0, x) if np.any(both) else x, y - 1.0)


def _power_exponent(ans: Any, x: Any, y: Any) -> Any:
    if ans.dtype.kind == "c":
        x = x + 0j
    # Trap: 0**y is constantly 0 for y >= 0, but log(0) * 0**y is nan.
    flat = (x == 0) & (np.real(y) >= 0)
    return ans * np.log(np.where(flat, 1.0, x)) if np.any(flat) else ans * np.log(x)


elementwise("power", _power_base, _power_exponent)
elementwise("float_power", _power_base, _power_exponent)
elementwise("square", lambda ans, x: 2 * x)
elementwise("reciprocal", lambda ans, x: -ans * ans)
elementwise("sqrt", lambda ans, x: 0.5 / ans)
elementwise("cbrt", lambda ans, x: 1 / (3 * ans * ans))

# ------------------------------------------------------------------------- exponentials

elementwise("exp", lambda ans, x: ans)
elementwise("exp2", lambda ans, x: ans * LN2)
elementwise("expm1", lambda ans, x: ans + 1)
elementwise("log", lambda ans, x: 1 / x)
elementwise("log2", lambda ans, x: 1 / (x * LN2))
elementwise("log10", lambda ans, x: 1 / (x * LN10))
elementwise("log1p", lambda ans, x: 1 / (1 + x))
elementwise("logaddexp", lambda ans, x, y: np.exp(x - ans), lambda ans, x, y: np.exp(y - ans))
elementwise("logaddexp2", lambda ans, x, y: np.exp2(x - ans), lambda ans, x, y: np.exp2(y - ans))

# ------------------------------------------------------------------------- trigonometry

elementwise("sin", lambda ans, x: np.cos(x))
elementwise("cos", lambda ans, x: -np.sin(x))
elementwise("tan", lambda ans, x: 1 + ans * ans)
elementwise("arcsin", lambda ans, x: 1 / np.sqrt(1 - x * x))
elementwise("arccos", lambda ans, x: -1 / np.sqrt(1 - x * x))
elementwise("arctan", lambda ans, x: 1 / (1 + x * x))
elementwise("sinh", lambda ans, x: np.cosh(x))
elementwise("cosh", lambda ans, x: np.sinh(x))
elementwise("tanh", lambda ans, x: 1 - ans * ans)
elementwise("arcsinh", lambda ans, x: 1 / np.sqrt(x * x + 1))
elementwise("arccosh", lambda ans, x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)))
elementwise("arctanh", lambda ans, x: 1 / (1 - x * x))
elementwise(
    "arctan2",
    lambda ans, y, x: quotient(x, x * x + y * y),
    lambda ans, y, x: quotient(-y, x * x + y * y),
)
elementwise("hypot", lambda ans, x, y: quotient(x, ans), lambda ans, x, y: quotient(y, ans))
for _name in ("deg2rad", "radians"):
    elementwise(_name, lambda ans, x: np.pi / 180)
for _name in ("rad2deg", "degrees"):
    elementwise(_name, lambda ans, x: 180 / np.pi)

# ------------------------------------------------------------------------- kinks and steps


def _split_ties(chosen: Any, other: Any) -> Any:
    return 0.5 * ((chosen > other) * 1.0 + (chosen >= other) * 1.0)


elementwise("maximum", lambda ans, x, y: _split_ties(x, y), lambda ans, x, y: _split_ties(y, x))
elementwise("minimum", lambda ans, x, y: _split_ties(y, x), lambda ans, x, y: _split_ties(x, y))


def _split_unless_nan(chosen: Any, other: Any, sign: int) -> Any:
    weight = _split_ties(sign * chosen, sign * other)
    return np.where(np.isnan(other), 1.0, np.where(np.isnan(chosen), 0.0, weight))


elementwise(
    "fmax",
    lambda ans, x, y: _split_unless_nan(x, y, 1),
    lambda ans, x, y: _split_unless_nan(y, x, 1),
)
elementwise(
    "fmin",
    lambda ans, x, y: _split_unless_nan(x, y, -1),
    lambda ans, x, y: _split_unless_nan(y, x, -1),
)
ufunc("absolute", lambda g, ans, x, **_: g * direction(x))
elementwise("fabs", lambda ans, x: np.sign(x))
for _name in ("sign", "floor", "ceil", "trunc", "rint"):
    ufunc(_name, _zero)
ufunc("heaviside", _zero, lambda g, ans, x, y, **_: g * np.equal(x, 0))
ufunc(
    "copysign",
    lambda g, ans, x, y, **_: g * (np.copysign(1.0, x) * np.copysign(1.0, y)),
    _zero,
)
ufunc("ldexp", lambda g, ans, x, n, **_: np.ldexp(g, n), None)
for _name in ("around", "round", "round_"):
    function(_name, "a decimals out", _zero)
function("fix", "x out", _zero)

_WHERE = Rule(
    "where",
    [
        None,
        lambda g, ans, condition, x, y: np.where(condition, g, 0.0),
        lambda g, ans, condition, x, y: np.where(condition, 0.0, g),
    ],
)


@composite("where")
def _where(condition: Any, *branches: Any) -> Any:
    if isinstance(condition, TracedArray):
        condition = condition != 0
    if not branches:
        return np.nonzero(condition)
    return apply(_WHERE, np.where, (condition, *branches))


@composite("select")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


def _within(x: Any, low: Any, high: Any) -> Any:
    inside = True if low is None else x >= low
    return inside if high is None else inside & (x <= high)


def _below(x: Any, low: Any, high: Any) -> Any:
    return (x < low) if high is None else (x < low) & (low <= high)


def _above(x: Any, low: Any, high: Any) -> Any:
    return (x > high) if low is None else (x > high) | (low > high)


_CLIP = Rule(
    "clip",
    [
        lambda g, ans, x, low, high: np.where(_within(x, low, high), g, 0.0),
        lambda g, ans, x, low, high: np.where(_below(x, low, high), g, 0.0),
        lambda g, ans, x, low, high: np.where(_above(x, low, high), g, 0.0),
    ],
)


@composite("clip")
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    **options: Any,
) -> Any:
    refuse("clip", {"out": out, **options})
    low = a_min if min is None else min
    high = a_max if max is None else max
    if low is None and high is None:
        return a.copy()
    return apply(_CLIP, _clipped, (a, low, high))


def _clipped(x: Any, low: Any, high: Any) -> Any:
    return np.clip(x, low, high)


_NAN_TO_NUM = Rule("nan_to_num", [lambda g, ans, x, **_: np.where(np.isfinite(x), g, 0.0)])


@composite("nan_to_num")
def _nan_to_num(x: Any, copy: Any = True, **options: Any) -> Any:
    if not copy:
        raise TracingError(
            "numpy.nan_to_num(..., copy=False) writes into its argument; assign the result "
            "instead: x = numpy.nan_to_num(x)"
        )
    return apply(_NAN_TO_NUM, np.nan_to_num, (x,), options)


# ------------------------------------------------------------------------- complex numbers

ufunc("conjugate", lambda g, ans, x, **_: np.conj(g), linear=True)
function("real", "val", lambda g, ans, x: g, linear=True, view=True)
function(
    "imag",
    "val",
    lambda g, ans, x: g * 1j if np.iscomplexobj(x) else np.zeros_like(g),
    view=True,
)
function(
    "angle",
    "z deg",
    lambda g, ans, z, deg=False: (
        g * quotient(1j * z, np.real(z * np.conj(z))) * (180 / np.pi if deg else 1.0)
        if np.iscomplexobj(z)
        else np.zeros_like(g)
    ),
)
_ASTYPE = Rule("astype", [lambda g, ans, x, dtype, casting: g], linear=True)


def _astype(x: Any, dtype: Any, casting: Any = "unsafe") -> Any:
    return apply(_ASTYPE, astype, (x,), {"dtype": dtype, "casting": casting})


FUNCTIONS[astype] = _astype


@composite("astype")
def _astype_function(x: Any, dtype: Any, /, **_: Any) -> Any:
    return x.astype(dtype)


function("copy", "a order subok", lambda g, ans, x, **_: g, linear=True)


@composite("unwrap")
def _unwrap(p: Any, **options: Any) -> Any:
    steps = primal(p)
    return p + (np.unwrap(steps, **options) - steps)
