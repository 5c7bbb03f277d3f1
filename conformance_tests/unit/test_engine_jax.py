"""The engine's rules against JAX's, value, gradient and second derivative, where both have one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp

jax: Any = pytest.importorskip("jax")
jnp: Any = jax.numpy

U = np.array([0.3, 0.2, 0.65, 0.44])
R = np.array([[0.5, -1.2, 0.8, 0.1], [1.7, 0.3, -0.4, 2.2], [-0.6, 0.9, 1.1, -0.2]])
ZEROS = R * np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1]])
HOLES = np.where(ZEROS == 0, np.nan, R)
MASK = HOLES > -0.5

ON_UNIT = """
    sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arctanh exp exp2 expm1 log log2 log10
    log1p sqrt cbrt square reciprocal negative deg2rad rad2deg sinc i0 sign fabs
"""
PAIRED = """
    add subtract multiply divide power float_power arctan2 hypot logaddexp logaddexp2 maximum
    minimum fmod remainder copysign
"""
REDUCED = "sum mean prod max min var std ptp median cumsum cumprod sort"
WITH_ZEROS = "prod cumprod"
NAN = "nansum nanprod nanmean nanvar nanstd nanmax nanmin nanmedian nancumsum nancumprod"


def options(name: str, **given: Any) -> Any:
    return lambda xp, x: getattr(xp, name)(x, **given)


CASES: dict[str, tuple[Any, Any]] = {
    **{n: (options(n), U) for n in ON_UNIT.split()},
    **{n: (lambda xp, x, n=n: getattr(xp, n)(x, 0.3 + x[::-1] ** 2), U) for n in PAIRED.split()},
    **{n: (options(n, axis=1), R) for n in REDUCED.split()},
    **{f"{n}_first": (options(n, axis=0), R) for n in REDUCED.split()},
    **{f"{n}_zeros": (options(n, axis=1), ZEROS) for n in WITH_ZEROS.split()},
    "prod_all_zeros": (options("prod"), ZEROS),
    **{
        n: (
            lambda xp, x, n=n: getattr(xp, n)(xp.where(np.isnan(HOLES), np.nan, x), axis=1),
            R,
        )
        for n in NAN.split()
    },
    **{
        f"{n}_where": (options(n, axis=1, where=MASK), R)
        for n in ("sum", "mean", "prod", "var", "std")
    },
    "max_where": (options("max", axis=0, where=MASK, initial=-0.9), R),
    "quantile": (lambda xp, x: xp.quantile(x, np.array([0.13, 0.5, 0.9]), axis=1), R),
    "percentile": (lambda xp, x: xp.percentile(x, 37.0), R),
    "average": (lambda xp, x: xp.average(x, axis=1, weights=xp.exp(x)), R),
    "nan_to_num": (lambda xp, x: xp.nan_to_num(xp.where(MASK, x, np.nan), nan=2.0) * x, R),
    "select": (lambda xp, x: xp.select([R > 1, R > 0], [x**2, xp.sin(x)], 0.5), R),
    "clip": (lambda xp, x: xp.clip(x, -0.5, 1.0) * x, R),
    "unwrap": (lambda xp, x: xp.unwrap(5 * x, axis=-1) ** 2, R),
    "logaddexp_reduce": (
        lambda xp, x: (
            jax.nn.logsumexp(x, axis=1) if xp is jnp else by_table("logaddexp", "reduce")(x, axis=1)
        ),
        R,
    ),
    "maximum_accumulate": (
        lambda xp, x: (
            jax.lax.cummax(x, axis=1) if xp is jnp else by_table("maximum", "accumulate")(x, axis=1)
        ),
        R,
    ),
    "logaddexp_accumulate": (
        lambda xp, x: (
            jax.lax.cumlogsumexp(x, axis=0)
            if xp is jnp
            else by_table("logaddexp", "accumulate")(x, axis=0)
        ),
        R,
    ),
}


def by_table(name: str, method: str) -> Any:
    from unigrad.engine.rules.ufunc_methods import UFUNC_METHODS

    return UFUNC_METHODS[name, method]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


def gradient(f: Any, x: Any) -> Any:
    pullback = vjp(lambda y: (f(y),), [x])[1]
    (g,) = pullback([np.ones(())[()]])
    return np.zeros_like(x) if g is None else g


@pytest.mark.parametrize("name", CASES)
def test_same_as_jax(name: str) -> None:
    f, x = CASES[name]
    v = np.sin(np.arange(1.0, x.size + 1) * 2.3).reshape(x.shape)

    def scalar(xp: Any, y: Any) -> Any:
        out = f(xp, y)
        return xp.sum(xp.sin(out) + 0.5 * out * out)

    expected = jax.grad(lambda y: scalar(jnp, y))
    np.testing.assert_allclose(
        gradient(lambda y: scalar(np, y), x), expected(x), rtol=1e-10, atol=1e-11
    )
    _, second = jax.jvp(expected, [x], [v])
    got = gradient(lambda y: np.sum(v * gradient(lambda z: scalar(np, z), y)), x)
    np.testing.assert_allclose(got, second, rtol=1e-9, atol=1e-10)
