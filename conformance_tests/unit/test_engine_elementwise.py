"""Ufuncs, their methods, and functions that act entry by entry: one line for each case.

Values against NumPy's own, derivatives to second order against central differences, forward mode
against reverse. Kinks and infinities, which differences cannot see, are pinned below.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import (
    check_dtype_is_kept,
    check_to_second_order,
    gradient,
)
from unigrad.engine import vjp
from unigrad.engine.rules.ufunc_methods import UFUNC_METHODS
from unigrad.engine.table import CONSTANT_UFUNCS, UFUNCS
from unigrad.errors import TracingError

U = np.array([0.3, 0.2, 0.65])
V = np.array([1.3, -0.7, 2.1, 0.4])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
Z = np.array([0.3 + 0.4j, -0.2 + 0.9j, 0.65 - 0.3j])
GAPS = np.array([[0.5, np.nan, 0.8], [np.inf, 0.3, np.nan]])


def gapped(x: Any) -> Any:
    return np.where(np.isfinite(GAPS), x, GAPS)


def method(name: str, kind: str, **options: Any) -> Any:
    """``numpy.<name>.<kind>(x, **options)``, by the table that the engine's arrays look into."""
    plain = getattr(getattr(np, name), kind)
    return lambda x: plain(x, **options)


SCANNED = "add multiply maximum minimum fmax fmin logaddexp logaddexp2 hypot subtract divide"
NEUTRAL = "add multiply logaddexp logaddexp2 hypot"
MOVED = np.array([[0.5, 1.2, 0.8], [1.7, 0.3, 0.4], [0.9, 0.6, 1.1]])

CASES: dict[str, tuple[Any, Any]] = {
    "modf": (lambda x: np.modf(x)[0] * (1 + np.modf(x)[1]), V),
    "frexp": (lambda x: np.frexp(x)[0] ** 2 * np.frexp(x)[1], V),
    "divmod": (lambda x: np.divmod(x, 0.31 + 0.1 * x[0])[1] * (1 + np.divmod(x, 0.41)[0]), V),
    "divmod_builtin": (lambda x: divmod(x, 0.41)[1] ** 2 + divmod(2.7, x[0])[1], V),
    "nextafter": (lambda x: np.nextafter(x, 9.0) ** 2, V),
    "ldexp": (lambda x: np.ldexp(x, np.array([1, -2, 0])) ** 2, U),
    "heaviside": (lambda x: np.heaviside(np.array([-1.0, 0.0, 2.0]), x) * x, U),
    "copysign": (lambda x: np.copysign(x**2, -x) + np.copysign(x, np.array([1, -1, 1.0])), U),
    "fmod_negative": (lambda x: np.fmod(-x, 0.13 + 0.1 * x[0]), U),
    "remainder_negative": (lambda x: np.remainder(-x, 0.13 + 0.1 * x[0]), U),
    "rounding": (lambda x: (np.rint(x) + np.around(x, 1) + np.trunc(x)) * x, V + 0.012),
    "power_by_array": (lambda x: x ** np.array([2.0, 0.0, 3.0, -1.0]), V),
    "power_at_zero": (lambda x: np.power(x, np.array([2.0, 3.0, 1.0])), np.array([0.0, 0.5, 0.0])),
    "power_of_number": (lambda x: 2**x + 0.5**x + np.float_power(1.5, x), V),
    "power_of_array": (lambda x: np.power(np.array([0.5, 2.0, 1.0]), x**2), U),
    "power_numpy_number": (lambda x: x ** np.float64(2) + np.float64(2) ** x, U),
    "complex_power_number": (lambda z: z**3 + 2**z + z**-0.5, Z),
    "arcsine_near_one": (lambda x: np.arcsin(x) + np.arccos(x) * x, np.array([0.9, -0.95, 0.0])),
    "sinc": (np.sinc, np.array([0.0, 1e-9, 1e-3, 0.3, -0.9, 1.0, 2.5, -7.2])),
    "sinc_square": (lambda x: np.sinc(x) ** 2 * x, np.array([0.47, 0.48, 0.8, 0.79, 0.0])),
    "complex_sinc": (np.sinc, Z),
    "i0": (np.i0, np.array([0.0, 1e-6, -0.4, 3.0, 7.9, 8.1])),
    "i0_ratio": (lambda x: np.log(np.i0(x)), np.array([20.0, -35.0, 0.7])),
    "angle_real": (lambda x: np.angle(x) + x, V),
    "angle_degrees": (lambda z: np.angle(z, deg=True), Z),
    "complex_sign": (lambda z: np.sign(z) * z, Z),
    "logaddexp_far": (
        lambda x: np.logaddexp(x, x[::-1] * 3),
        np.array([-400.0, 2.0, 500.0, 0.1]),
    ),
    "logaddexp2_outer": (lambda x: np.logaddexp2(x[:, None], x), U),
    "real_if_close": (lambda z: np.real_if_close(np.abs(z) + 0j) * np.real_if_close(z), Z),
    "nan_to_num": (lambda x: np.nan_to_num(gapped(x), nan=1.0, posinf=3.0) ** 2 * x, R),
    "unwrap": (lambda x: np.unwrap(x * 5) ** 2, V),
    "unwrap_axis": (lambda x: np.unwrap(5 * x, axis=0, period=2.7), R),
    "unwrap_discont": (lambda x: np.unwrap(5 * x, discont=4.0, axis=-1), R),
    "where_scalar": (lambda x: np.where(True, x, 1.0) * np.where(x[0] > 9, 0.0, x**2), U),
    "where_traced": (lambda x: np.where(x, x**2, 5.0), np.array([0.3, -0.4, 0.2])),
    "where_one": (lambda x: x[np.where(x > 0.25)] ** 2, U),
    "where_complex": (lambda z: np.where(np.real(z) > 0, z**2, np.conj(z)), Z),
    "where_mixed": (lambda x: np.abs(np.where(R > 0, x, 1j * x**2)), U),
    "select": (lambda x: np.select([x > 1, x > 0], [x**2, x[0] * x], default=x**3), R),
    "select_broadcast": (lambda x: np.select([R > 1, R > 0], [x, x[::-1] ** 2], -1), U),
    "piecewise": (
        lambda x: np.piecewise(x, [x < 0, x > 1], [np.exp, lambda y: 3 * y**2, 0.5]),
        R,
    ),
    "piecewise_all": (
        lambda x: np.piecewise(
            x, [R < 0, R >= 0], [lambda y, k: k * y**2, lambda y, k: y.sum() * y], k=2.0
        ),
        R,
    ),
    "clip_traced": (lambda x: np.clip(x, x[0] - 0.05, x[2] * x) * x, U),
    "clip_lists": (lambda x: np.clip(x, [0.1, 0.25, 0.1], None) + np.clip(x, None, 0.4), U),
    "clip_crossed": (lambda x: np.clip(x, 0.5 + x[0], 0.2 * x), U),
    "ufunc_outer": (lambda x: np.hypot.outer(x, x**2) + np.logaddexp.outer(U, x), U),
    **{f"{n}.accumulate": (method(n, "accumulate"), U) for n in SCANNED.split()},
    **{f"{n}.accumulate_axis": (method(n, "accumulate", axis=-1), MOVED) for n in SCANNED.split()},
    **{f"{n}.reduce": (method(n, "reduce"), MOVED) for n in SCANNED.split()},
    **{
        f"{n}.reduce_kept": (method(n, "reduce", axis=-1, keepdims=True), MOVED)
        for n in SCANNED.split()
    },
    **{f"{n}.reduce_all": (method(n, "reduce", axis=None), MOVED) for n in NEUTRAL.split()},
    **{
        f"{n}.reduce_initial": (method(n, "reduce", axis=(1, 0), initial=0.7), MOVED)
        for n in NEUTRAL.split()
    },
    **{
        f"{n}.reduce_where": (method(n, "reduce", axis=1, where=MOVED > 0.5), MOVED)
        for n in NEUTRAL.split()
    },
    "hypot.reduce_one": (method("hypot", "reduce", axis=1), V[:, None]),
    "multiply.accumulate_zeros": (
        method("multiply", "accumulate"),
        np.array([2.0, 0.0, 3.0, 0.0, 1.5]),
    ),
}
if np.lib.NumpyVersion(np.__version__) < "2.5.0":  # deprecated since
    CASES["fix"] = (lambda x: np.fix(x) * x, V + 0.012)


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order(name: str) -> None:
    check_to_second_order(name, *CASES[name])


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1].dtype == np.float64])
def test_dtype_is_kept(name: str) -> None:
    check_dtype_is_kept(*CASES[name])


def floating(fn: np.ufunc) -> bool:
    return any(set(kind) & set("fdFD") for kind in fn.types)


@pytest.mark.parametrize(
    "fn",
    sorted({f for f in vars(np).values() if isinstance(f, np.ufunc)}, key=lambda f: f.__name__),
)
def test_every_ufunc_of_floats_has_a_rule(fn: np.ufunc) -> None:
    assert fn in UFUNCS or fn in CONSTANT_UFUNCS or not floating(fn)


def derivative(f: Any, *xs: float) -> list[float]:
    """The first derivatives of a scalar function."""
    arrays = [np.float64(x) for x in xs]
    found = vjp(lambda *ys: (f(*ys),), arrays)[1]([np.float64(1.0)])
    return [0.0 if g is None else float(g) for g in found]


def second(f: Any, x: float) -> float:
    return derivative(lambda y: vjp(lambda z: (f(z),), [y])[1]([np.float64(1.0)])[0], x)[0]


INF = np.inf
PINNED: dict[str, tuple[Any, tuple[float, ...], list[float]]] = {
    "abs": (np.abs, (0.0,), [0.0]),
    "hypot": (np.hypot, (0.0, 0.0), [0.0, 0.0]),
    "arctan2": (np.arctan2, (0.0, 0.0), [0.0, 0.0]),
    "arctan2_tiny": (np.arctan2, (0.0, 1e-200), [1e200, 0.0]),
    "arctan2_huge": (np.arctan2, (0.0, 1e200), [1e-200, 0.0]),
    "power": (np.power, (0.0, 0.0), [0.0, 0.0]),
    "power_of_zero": (np.power, (0.0, 2.0), [0.0, 0.0]),
    "power_zero": (np.power, (2.0, 0.0), [0.0, float(np.log(2.0))]),
    "maximum": (np.maximum, (1.0, 1.0), [0.5, 0.5]),
    "minimum_of_less": (np.minimum, (0.0, 1.0), [1.0, 0.0]),
    "fmax_nan": (np.fmax, (np.nan, 1.0), [0.0, 1.0]),
    "clip_low": (lambda x: np.clip(x, 0.0, 1.0), (0.0,), [1.0]),
    "clip_high": (lambda x: np.clip(x, 0.0, 1.0), (1.0,), [1.0]),
    "logaddexp_large": (np.logaddexp, (1e16, 1e16), [0.5, 0.5]),
    "logaddexp_nothing": (np.logaddexp, (-INF, -INF), [0.5, 0.5]),
    "logaddexp_one": (np.logaddexp, (-INF, 2.0), [0.0, 1.0]),
    "logaddexp_infinite": (np.logaddexp, (INF, 2.0), [1.0, 0.0]),
    "logaddexp2_large": (np.logaddexp2, (1e16, 1e16), [0.5, 0.5]),
    "arcsin_near_one": (np.arcsin, (1 - 2.0**-40,), [float((2.0**-40 * (2 - 2.0**-40)) ** -0.5)]),
    "sign": (np.sign, (0.0,), [0.0]),
    "heaviside": (lambda x: np.heaviside(x, 0.5), (0.0,), [0.0]),
    "sinc": (np.sinc, (0.0,), [0.0]),
    "nan_to_num": (np.nan_to_num, (INF,), [0.0]),
}


@pytest.mark.parametrize("name", PINNED)
def test_kinks_and_infinities(name: str) -> None:
    f, xs, expected = PINNED[name]
    np.testing.assert_allclose(derivative(f, *xs), expected, rtol=1e-14)


def test_second_derivatives_at_special_points() -> None:
    np.testing.assert_allclose(second(np.sinc, 0.0), -(np.pi**2) / 3, rtol=1e-15)
    np.testing.assert_allclose(second(np.sinc, 1e-5), -(np.pi**2) / 3, rtol=1e-8)
    np.testing.assert_allclose(second(np.i0, 0.0), 0.5, rtol=1e-15)
    np.testing.assert_allclose(second(lambda x: np.power(x, np.float64(2)), 0.0), 2.0)
    np.testing.assert_allclose(second(lambda x: np.logaddexp(x, 1.0), 1.0), 0.25)
    assert second(lambda x: np.hypot(x, 0.0), 0.0) == 0.0


def test_bessel_function_against_its_integral() -> None:
    x = np.array([1e-8, 0.1, 1.0, 8.0, 60.0, 700.0])
    special: Any = pytest.importorskip("scipy.special")
    g = gradient(lambda y: np.sum(np.i0(y)), x)
    np.testing.assert_allclose(g, special.i1(x), rtol=1e-13)


def test_running_logsumexp_of_nothing_yet() -> None:
    x = np.array([-INF, -INF, 0.3, 1.2])
    f = method("logaddexp", "accumulate")
    g = gradient(lambda y: f(y)[-1], x)
    np.testing.assert_allclose(g[2:], np.exp(x[2:] - f(x)[-1]))
    assert np.all(g[:2] == 0)
    g = gradient(lambda y: method("logaddexp", "reduce")(y), x)
    np.testing.assert_allclose(g, np.exp(x - f(x)[-1]))
    assert np.all(gradient(method("logaddexp", "reduce"), np.array([-INF, -INF])) == 0)


def test_reductions_of_nothing() -> None:
    x = np.zeros((2, 0))
    (value,), pullback = vjp(lambda y: (UFUNC_METHODS["logaddexp", "reduce"](y, axis=1),), [x])
    np.testing.assert_array_equal(value, [-INF, -INF])
    assert pullback([np.ones(2)])[0] is None


REFUSED: dict[str, tuple[Any, str]] = {
    "histogram": (lambda x: np.histogram(x)[0], "numpy.histogram"),
    "histogram2d": (lambda x: np.histogram2d(x, x)[0], "numpy.histogram2d"),
    "histogramdd": (lambda x: np.histogramdd(x[:, None])[0], "numpy.histogramdd"),
    "histogram_bin_edges": (lambda x: np.histogram_bin_edges(x), "stop_gradient"),
    "nan_to_num_in_place": (lambda x: np.nan_to_num(x, copy=False), "x = numpy.nan_to_num"),
    "nan_to_num_traced": (lambda x: np.nan_to_num(x, nan=x[0]), "stop_gradient"),
    "subtract_where": (lambda x: UFUNC_METHODS["subtract", "reduce"](x, where=U > 1), "where"),
    "clip_out": (lambda x: np.clip(x, 0, 1, out=np.zeros(3)), "out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_type(name: str) -> None:
    f, words = REFUSED[name]
    with pytest.raises(TracingError, match=words):
        vjp(lambda x: (f(x),), [U])
