"""Rules of ufuncs, one line each, and of NumPy's other functions that act entry by entry.

At kinks: abs and sign give 0; ties of maximum and minimum are split evenly; quotients 0/0 of the
rules (hypot, arctan2 at the origin) are 0; steps (floor, round, heaviside) have derivative 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unigrad.engine.array import astype
from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.table import FUNCTIONS, composite, elementwise, function, ufunc

__all__ = ["conjugate", "direction", "quotient"]

LN2, LN10 = math.log(2.0), math.log(10.0)
SIGN_IS_PHASE = bool(np.sign(1j) == 1j)
"""From NumPy 2 on, the sign of a complex number is ``z / |z|``."""


def conjugate(x: Any) -> Any:
    """The complex conjugate; a real array itself, not a copy."""
    return np.conj(x) if np.iscomplexobj(x) else x


def quotient(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where ``b`` is 0, with finite derivatives there."""
    zero = b == 0
    return np.where(zero, 0.0, a / np.where(zero, 1.0, b))


def direction(x: Any) -> Any:
    """``x / |x|``, and 0 at 0: the sign of a real number, the phase of a complex one."""
    return quotient(x, np.abs(x)) if np.iscomplexobj(x) else np.sign(x)


def _per_square(x: Any, r: Any) -> Any:
    """``x / r**2``, and 0 where ``r`` is 0; the square itself would under- and overflow."""
    zero = r == 0
    safe = np.where(zero, 1.0, r)
    return np.where(zero, 0.0, x / safe / safe)


# ------------------------------------------------------------------------- arithmetic

ufunc("add", lambda g, ans, x, y, **_: g, lambda g, ans, x, y, **_: g, linear=True)
ufunc("subtract", lambda g, ans, x, y, **_: g, lambda g, ans, x, y, **_: -g, linear=True)
ufunc(
    "multiply",
    lambda g, ans, x, y, **_: g * (y if g.dtype.kind == "f" else conjugate(y)),
    lambda g, ans, x, y, **_: g * (x if g.dtype.kind == "f" else conjugate(x)),
    multilinear=True,
)
elementwise("divide", lambda ans, x, y: 1.0 / y, lambda ans, x, y: -ans / y)
ufunc("positive", lambda g, ans, x, **_: g, linear=True)
ufunc("negative", lambda g, ans, x, **_: -g, linear=True)


def _zero(g: Any, ans: Any, *_: Any, **__: Any) -> Any:
    return np.zeros_like(g)


ufunc("floor_divide", _zero, _zero)
elementwise("remainder", lambda ans, x, y: 1.0, lambda ans, x, y: -np.floor_divide(x, y))
elementwise("fmod", lambda ans, x, y: 1.0, lambda ans, x, y: -np.rint((x - ans) / y))


def _power_base(ans: Any, x: Any, y: Any) -> Any:
    if type(y) is int or type(y) is float:
        if y == 2:
            return 2 * x
        if y in (0, 1):
            return float(y)
        return y * x ** (y - 1)
    # Trap: 0**0 has derivative 0 in the base, but y * x**(y-1) is 0 * inf there.
    return y * np.power(np.where((x == 0) & (y == 0), 1.0, x), y - 1.0)


def _power_exponent(ans: Any, x: Any, y: Any) -> Any:
    if (type(x) is int or type(x) is float) and x > 0:
        return ans * math.log(x)
    if ans.dtype.kind == "c":
        x = x + 0j
    # Trap: 0**y is constantly 0 for y >= 0, but log(0) * 0**y is nan.
    return ans * np.log(np.where((x == 0) & (np.real(y) >= 0), 1.0, x))


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
ufunc("log", lambda g, ans, x, **_: g / conjugate(x))
elementwise("log2", lambda ans, x: 1 / (x * LN2))
elementwise("log10", lambda ans, x: 1 / (x * LN10))
elementwise("log1p", lambda ans, x: 1 / (1 + x))


def _difference(x: Any, y: Any) -> Any:
    """``x - y``, and 0 where both are the same infinity."""
    same = (x == y) & np.isinf(x)
    return np.where(same, 0.0, x) - np.where(same, 0.0, y)


def _share(x: Any, y: Any) -> Any:
    # Trap: exp(x - logaddexp(x, y)) loses all digits where x is large.
    return np.exp(-np.logaddexp(0.0, _difference(y, x)))


def _share2(x: Any, y: Any) -> Any:
    return np.exp2(-np.logaddexp2(0.0, _difference(y, x)))


elementwise("logaddexp", lambda ans, x, y: _share(x, y), lambda ans, x, y: _share(y, x))
elementwise("logaddexp2", lambda ans, x, y: _share2(x, y), lambda ans, x, y: _share2(y, x))

# ------------------------------------------------------------------------- trigonometry

elementwise("sin", lambda ans, x: np.cos(x))
elementwise("cos", lambda ans, x: -np.sin(x))
elementwise("tan", lambda ans, x: 1 + ans * ans)
elementwise("arcsin", lambda ans, x: 1 / np.sqrt((1 - x) * (1 + x)))
elementwise("arccos", lambda ans, x: -1 / np.sqrt((1 - x) * (1 + x)))
elementwise("arctan", lambda ans, x: 1 / (1 + x * x))
elementwise("sinh", lambda ans, x: np.cosh(x))
elementwise("cosh", lambda ans, x: np.sinh(x))
elementwise("tanh", lambda ans, x: 1 - ans * ans)
elementwise("arcsinh", lambda ans, x: 1 / np.sqrt(x * x + 1))
elementwise("arccosh", lambda ans, x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)))
elementwise("arctanh", lambda ans, x: 1 / ((1 - x) * (1 + x)))
elementwise(
    "arctan2",
    lambda ans, y, x: _per_square(x, np.hypot(x, y)),
    lambda ans, y, x: _per_square(-y, np.hypot(x, y)),
)
elementwise("hypot", lambda ans, x, y: quotient(x, ans), lambda ans, x, y: quotient(y, ans))
for _name in ("deg2rad", "radians"):
    elementwise(_name, lambda ans, x: np.pi / 180)
for _name in ("rad2deg", "degrees"):
    elementwise(_name, lambda ans, x: 180 / np.pi)

# ------------------------------------------------------------------------- kinks and steps


def split_ties(g: Any, chosen: Any, other: Any) -> Any:
    """``g`` where ``chosen`` is the larger, half of it where both are equal, else 0."""
    # Small integers are added fast; numpy.add(..., dtype=float) is not what Dask does.
    wins = (chosen > other).astype(_INT8) + (chosen >= other).astype(_INT8)
    return 0.5 * g * wins


_INT8 = np.dtype(np.int8)
ufunc(
    "maximum",
    lambda g, ans, x, y, **_: split_ties(g, x, y),
    lambda g, ans, x, y, **_: split_ties(g, y, x),
)
ufunc(
    "minimum",
    lambda g, ans, x, y, **_: split_ties(g, y, x),
    lambda g, ans, x, y, **_: split_ties(g, x, y),
)


def _unless_nan(g: Any, chosen: Any, other: Any, larger: Any, smaller: Any) -> Any:
    share = np.where(np.isnan(chosen), 0.0, split_ties(g, larger, smaller))
    return np.where(np.isnan(other), g, share)


ufunc(
    "fmax",
    lambda g, ans, x, y, **_: _unless_nan(g, x, y, x, y),
    lambda g, ans, x, y, **_: _unless_nan(g, y, x, y, x),
)
ufunc(
    "fmin",
    lambda g, ans, x, y, **_: _unless_nan(g, x, y, y, x),
    lambda g, ans, x, y, **_: _unless_nan(g, y, x, x, y),
)
ufunc("absolute", lambda g, ans, x, **_: g * direction(x))
elementwise("fabs", lambda ans, x: np.sign(x))


def _pull_sign(g: Any, ans: Any, x: Any, **_: Any) -> Any:
    if not (SIGN_IS_PHASE and np.iscomplexobj(x)):
        return np.zeros_like(g)
    return quotient(g - ans * np.real(np.conj(ans) * g), np.abs(x))


ufunc("sign", _pull_sign)
for _name in ("floor", "ceil", "trunc", "rint"):
    ufunc(_name, _zero)
ufunc("heaviside", _zero, lambda g, ans, x, y, **_: g * np.equal(x, 0))
ufunc(
    "copysign",
    lambda g, ans, x, y, **_: g * (np.copysign(1.0, x) * np.copysign(1.0, y)),
    _zero,
)
ufunc("nextafter", lambda g, ans, x, y, **_: g, _zero)
ufunc("ldexp", lambda g, ans, x, n, **_: np.ldexp(g, n), None)
for _name in ("around", "round", "round_"):
    function(_name, "a decimals out", _zero)
function("fix", "x out", _zero)

# ------------------------------------------------------------------------- several outputs


def _minus_floor(g: Any, ans: Any, x: Any, y: Any, **_: Any) -> Any:
    return None if g[1] is None else -g[1] * ans[0]


ufunc("modf", lambda g, ans, x, **_: g[0])
ufunc("frexp", lambda g, ans, x, **_: None if g[0] is None else np.ldexp(g[0], -ans[1]))
ufunc("divmod", lambda g, ans, x, y, **_: g[1], _minus_floor)

# ------------------------------------------------------------------------- sinc and i0


def _sinc(x: Any, n: int) -> Any:
    """The derivative of order ``n`` of ``sin(y)/y`` at ``y = pi x``, in ``y``."""
    if isinstance(x, Box):
        return apply(_SINC, _sinc, (x, n))
    y = np.pi * x
    limit = n + 0.5
    small = np.abs(y) < limit
    # sum over k of (-1)**k y**(2k-n) / ((2k-n)! (2k+1)), by Horner's rule
    z = np.where(small, y, 0.0)
    first = (n + 1) // 2
    last = first
    while limit ** (2 * last - n) / math.factorial(2 * last - n) > 1e-18:
        last += 1
    near: Any = 0.0
    for k in range(last, first - 1, -1):
        near = near * z * z + (-1) ** k / (math.factorial(2 * k - n) * (2 * k + 1))
    if n % 2:
        near = near * z
    # y s' + s = cos y, y s'' + 2 s' = -sin y, ...: unstable for small y only
    y = np.where(small, 1.0, y)
    far = np.sin(y) / y
    for k in range(1, n + 1):
        turned = (np.sin, np.cos)[k % 2](y)
        far = ((-turned if k % 4 in (2, 3) else turned) - k * far) / y
    return np.where(small, near, far)


_SINC = Rule("sinc", derivatives=[lambda ans, x, n: np.pi * _sinc(x, n + 1), None])


@composite("sinc")
def _sinc_function(x: Any) -> Any:
    return apply(_SINC_ITSELF, np.sinc, (x,))


_SINC_ITSELF = Rule("sinc", derivatives=[lambda ans, x: np.pi * _sinc(x, 1)])


def _i0(x: Any, n: int) -> Any:
    """The derivative of order ``n`` of the Bessel function ``I_0``.

    The mean of ``cos(t)**n exp(x cos t)`` over the circle, which converges geometrically.
    """
    if isinstance(x, Box):
        return apply(_I0, _i0, (x, n))
    total: Any = 0.0
    wave = np.sinh if n % 2 else np.cosh
    for j in range(_NODES):
        c = math.cos((j + 0.5) * math.pi / (2 * _NODES))
        total = total + c**n * wave(c * x)
    return total / _NODES


_NODES = 64
_I0 = Rule("i0", derivatives=[lambda ans, x, n: _i0(x, n + 1), None])
_I0_ITSELF = Rule("i0", derivatives=[lambda ans, x: _i0(x, 1)])


@composite("i0")
def _i0_function(x: Any) -> Any:
    return apply(_I0_ITSELF, np.i0, (x,))


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
        g * _per_square(1j * z, np.abs(z)) * (180 / np.pi if deg else 1.0)
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
