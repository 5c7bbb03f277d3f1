"""How one case of a table, a function and a point, is checked against differences; no test itself.

The oracle is independent of the rules: differences of the value for the gradient and for the
tangent, and of the gradient for the second derivative, along random directions, real or complex.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine import jvp, vjp

__all__ = [
    "check_dtype_is_kept",
    "check_to_second_order",
    "directions",
    "drawn",
    "gradient",
    "real_inner",
    "slope",
]


def real_inner(a: Any, b: Any) -> Any:
    return np.real(np.sum(np.conj(a) * b))


def gradient(f: Any, x: Any) -> Any:
    """The gradient of a scalar function, by reverse mode."""
    pullback = vjp(lambda y: (f(y),), [x])[1]
    (g,) = pullback([np.ones(())[()]])
    return np.zeros_like(x) if g is None else g


def slope(f: Any, x: Any, v: Any, step: float = 1e-3) -> Any:
    """The derivative along ``v``, by differences of fourth order."""
    h = [f(x + k * step * v) for k in (1, -1, 2, -2)]
    return (8 * (h[0] - h[1]) - (h[2] - h[3])) / (12 * step)


def directions(seed: str) -> Callable[[Any], Any]:
    """Random arrays, each like the one it is given."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    return lambda like: drawn(rng, like)


def drawn(rng: np.random.Generator, like: Any) -> Any:
    """A random array, complex if the other is."""
    v = rng.uniform(-0.5, 0.5, np.shape(like))
    return v + 1j * rng.uniform(-0.5, 0.5, np.shape(like)) if np.iscomplexobj(like) else v


def _largest(x: Any) -> float:
    return max(1.0, float(np.max(np.abs(x), initial=0.0)))


def check_to_second_order(name: str, f: Any, x: Any) -> None:
    """Value, gradient, tangent and second derivative of ``f`` at ``x``."""
    direction = directions(name)
    (value,), (tangent,) = jvp(lambda y: (f(y),), [x], [v := direction(x)])
    expected = f(x)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
    assert np.shape(value) == np.shape(expected)
    assert value.dtype == np.asarray(expected).dtype
    w, u = direction(expected), direction(x)

    def scalar(y: Any) -> Any:
        out = f(y)
        return real_inner(w, out) + 0.5 * real_inner(out, out)

    def along_v(y: Any) -> Any:
        return real_inner(v, gradient(scalar, y))

    if tangent is not None:
        np.testing.assert_allclose(tangent, slope(f, x, v), rtol=1e-6, atol=1e-6)
    g = gradient(scalar, x)
    first = real_inner(g, v)
    assert abs(first - slope(scalar, x, v)) < 1e-6 * _largest(g)
    (moved,) = jvp(lambda y: (scalar(y),), [x], [v])[1]
    assert abs(first - (0.0 if moved is None else moved)) < 1e-10 * _largest(g)
    g = gradient(along_v, x)
    assert abs(real_inner(g, u) - slope(along_v, x, u)) < 2e-6 * _largest(g)


def check_dtype_is_kept(f: Any, x: Any, expected: Any = None) -> None:
    """float32 in gives NumPy's own value type, or ``expected``, and a float32 gradient."""
    x = x.astype(np.float32)
    (value,), _ = vjp(lambda y: (f(y),), [x])
    assert value.dtype == (f(x).dtype if expected is None else expected)
    g = gradient(lambda y: np.sum(np.abs(f(y))), x)
    assert g.dtype == np.float32
    assert g.shape == x.shape
