"""Rules of shapes, products and calculus against JAX's: gradient and second derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp

jax: Any = pytest.importorskip("jax")

U = np.array([0.3, 0.2, 0.65, 0.44])
R = np.array([[0.5, -1.2, 0.8, 0.1], [1.7, 0.3, -0.4, 2.2], [-0.6, 0.9, 1.1, -0.2]])
S = np.sin(np.arange(16.0)).reshape(4, 4)
T = np.cos(np.arange(24.0)).reshape(2, 3, 4)
PLACES = np.array([0.0, 0.3, 0.5, 1.1])

CASES: dict[str, tuple[Any, Any]] = {
    "transpose": (lambda xp, x: xp.transpose(x, (-1, 0, -2)) ** 3, T),
    "moveaxis": (lambda xp, x: xp.moveaxis(x, -1, 0) ** 3 + xp.rollaxis(x, 2), T),
    "roll": (lambda xp, x: xp.roll(x, (1, -2), (0, 1)) * x, R),
    "tile": (lambda xp, x: xp.tile(x, (2, 1)) ** 3, R),
    "repeat": (lambda xp, x: xp.repeat(x, 2, axis=1) ** 3, R),
    "diag": (lambda xp, x: xp.diag(x, 1) * xp.diag(x.T, -1), R),
    "diagonal": (lambda xp, x: xp.diagonal(x, 1, 2, 0) ** 3, T),
    "trace": (lambda xp, x: xp.trace(x, axis1=-1, axis2=0) ** 2, T),
    "delete": (lambda xp, x: xp.delete(x, 1, axis=1) ** 3, R),
    "insert": (lambda xp, x: xp.insert(x, 1, x[:, 0] ** 2, axis=1) ** 2, R),
    "pad": (lambda xp, x: xp.pad(x, ((1, 0), (2, 1)), constant_values=2.0) ** 3, R),
    **{
        f"pad_{m}": (lambda xp, x, m=m: xp.pad(x, (2, 1), mode=m) ** 3, R)
        for m in ("edge", "reflect", "symmetric", "wrap", "mean", "maximum", "minimum")
    },
    "pad_ramp": (lambda xp, x: xp.pad(x, 2, mode="linear_ramp", end_values=3.0) ** 2, R),
    "block": (lambda xp, x: xp.block([[x, x**2], [R, x]]) ** 2, R),
    "along_axis": (lambda xp, x: xp.apply_along_axis(lambda r: r * xp.sum(r), 1, x), R),
    "matmul": (lambda xp, x: (x @ x) @ x[0], S),
    "matmul_stack": (lambda xp, x: x @ xp.swapaxes(x, 1, 2) @ R, T),
    "tensordot": (lambda xp, x: xp.tensordot(x, x, ([0, -1], [0, 2])), T),
    "kron": (lambda xp, x: xp.kron(x, x[0]), R),
    "outer": (lambda xp, x: xp.outer(x, x**2), R),
    "inner": (lambda xp, x: xp.inner(x, x) ** 2, R),
    "cross": (lambda xp, x: xp.cross(x.T, x.T**2), R),
    **{
        f"{n}_{m}": (lambda xp, x, n=n, m=m: getattr(xp, n)(x, x[:3] ** 2, mode=m), U)
        for n in ("convolve", "correlate")
        for m in ("full", "same", "valid")
    },
    **{
        f"einsum_{s}": (lambda xp, x, s=s: xp.einsum(s, *[x, x**2][: s.count(",") + 1]), S)
        for s in ("ij,jk", "ii", "ii->i", "ij,ij->i", "ij,kl->ki", "i...,...i->...", "ii,ij->j")
    },
    "gradient": (lambda xp, x: xp.gradient(x, 0.5, axis=0) * xp.gradient(x)[1], R),
    "trapezoid": (lambda xp, x: _trapezoid(xp)(x, PLACES) * _trapezoid(xp)(x[0], x[1]), R),
    "diff": (lambda xp, x: xp.diff(x, n=2, prepend=x[:, :1] ** 2) ** 2, R),
    "ediff1d": (lambda xp, x: xp.ediff1d(x) ** 3, R),
    "interp": (lambda xp, x: xp.interp(x, PLACES, PLACES**2) ** 2, U),
    "interp_places": (lambda xp, x: xp.interp(U, xp.cumsum(x), x**2), U),
    "interp_ends": (lambda xp, x: xp.interp(x - 0.4, PLACES, x, left=2.0), U),
    "linspace": (lambda xp, x: xp.linspace(x[0], x[1] ** 2, 5) ** 3, R),
    "geomspace": (lambda xp, x: xp.geomspace(x[0], x[1], 5) ** 2, U),
    "vander": (lambda xp, x: xp.vander(x) ** 2, U),
    "polyval": (lambda xp, x: xp.polyval(x, x), U),
    "polyint": (lambda xp, x: xp.polyint(x, 2) * xp.polyint(xp.polyder(x), 3), U),
    "cov": (lambda xp, x: xp.cov(x, aweights=U) ** 2, R),
    "corrcoef": (lambda xp, x: xp.corrcoef(x)[0, 1:], R),
    "meshgrid": (lambda xp, x: sum(xp.meshgrid(x, x**2)) ** 3, U),
    "choose": (lambda xp, x: xp.choose(np.array([1, 0, 1, 1]), [x, x**2]), U),
}


def _trapezoid(xp: Any) -> Any:
    return xp.trapezoid if hasattr(xp, "trapezoid") else xp.trapz


def gradient(f: Any, x: Any) -> Any:
    _, pullback = vjp(lambda y: (f(y),), [x])
    return pullback([np.float64(1.0)])[0]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_jax(name: str) -> None:
    f, x = CASES[name]
    v = np.cos(np.arange(x.size)).reshape(x.shape)
    w = np.sin(1.0 + np.arange(np.size(f(np, x)))).reshape(np.shape(f(np, x)))

    def ours(y: Any) -> Any:
        return np.sum(w * f(np, y) ** 2)

    def theirs(y: Any) -> Any:
        return jax.numpy.sum(w * f(jax.numpy, y) ** 2)

    first = gradient(ours, x)
    second = gradient(lambda y: np.sum(v * gradient(ours, y)), x)
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        want = np.asarray(jax.grad(theirs)(x))
        want_second = np.asarray(jax.jvp(jax.grad(theirs), (x,), (v,))[1])
    for got, expected in ((first, want), (second, want_second)):
        scale = max(1.0, float(np.max(np.abs(expected))))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * scale)
