"""Reductions, scans, quantiles and sorting, with every option: one line for each case.

Values against NumPy's own, derivatives to second order against central differences, forward mode
against reverse.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import (
    check_dtype_is_kept,
    check_to_second_order,
    gradient,
)
from unigrad.engine import vjp
from unigrad.errors import TracingError

NEW = int(np.__version__.partition(".")[0]) >= 2
U = np.array([0.3, 0.2, 0.65])
V = np.array([1.3, -0.7, 2.1, 0.4, 0.9, -1.6, 0.15])
R = np.array([[0.5, -1.2, 0.8, 0.1], [1.7, 0.3, -0.4, 2.2], [-0.6, 0.9, 1.1, -0.2]])
T = np.sin(np.arange(1.0, 25.0) * 1.7).reshape(2, 3, 4)
Z = np.array([[0.3 + 0.4j, -0.2 + 0.9j, 0.65 - 0.3j], [1.1 - 0.2j, 0.5j, -0.8 + 0.1j]])
MASK = np.array([[True, False, True, True], [False, True, True, False], [True, True, False, True]])
HOLES = np.where(MASK, R, np.nan)
EMPTY_ROW = np.where(np.array([[True], [False], [True]]), HOLES, np.nan)


def holed(x: Any) -> Any:
    return np.where(MASK, x, np.nan)


def emptied(x: Any) -> Any:
    """Finite functions of a slice that is all nan would not be compared: pick the others."""
    return np.where(np.array([[True], [False], [True]]), holed(x), np.nan)


def by_name(name: str, x: Any, **options: Any) -> Any:
    return getattr(np, name)(x, **options)


METHODS = """
    linear inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen
    weibull median_unbiased normal_unbiased lower higher midpoint nearest
"""
REDUCED = "sum mean prod max min var std"
NAN_REDUCED = "nansum nanprod nanmean nanvar nanstd nanmax nanmin nanmedian"
INITIAL: dict[str, dict[str, Any]] = {"max": {"initial": -9.0}, "min": {"initial": 9.0}}

CASES: dict[str, tuple[Any, Any]] = {
    **{f"{n}_all": (lambda x, n=n: by_name(n, x), R) for n in REDUCED.split()},
    **{f"{n}_negative": (lambda x, n=n: by_name(n, x, axis=-2), T) for n in REDUCED.split()},
    **{
        f"{n}_tuple": (lambda x, n=n: by_name(n, x, axis=(-1, 0), keepdims=True), T)
        for n in (*REDUCED.split(), "median")
    },
    **{f"{n}_none": (lambda x, n=n: by_name(n, x, axis=()), R) for n in ("sum", "prod", "max")},
    **{
        f"{n}_where": (
            lambda x, n=n: by_name(n, x, axis=1, where=MASK, **INITIAL.get(n, {})),
            R,
        )
        for n in REDUCED.split()
    },
    **{
        f"{n}_where_kept": (
            lambda x, n=n: by_name(
                n, x, keepdims=True, where=np.arange(4) != 1, **INITIAL.get(n, {})
            ),
            R,
        )
        for n in REDUCED.split()
    },
    **{
        f"{n}_initial": (lambda x, n=n: by_name(n, x, axis=0, initial=0.45), R)
        for n in ("sum", "prod", "max", "min", "nansum", "nanprod", "nanmax", "nanmin")
    },
    "sum_initial_traced": (lambda x: np.sum(x**2, initial=x[0, 0]), R),
    "extrema_initial_traced": (lambda x: x.max(axis=0, initial=x[0, 0]) + x.min(initial=0.0), R),
    "sum_dtype": (lambda x: np.sum(x, axis=0, dtype=np.float64) * x.sum(), R),
    "mean_methods": (lambda x: x.mean(0) * x.mean(-1, keepdims=True) + x.mean((0, 1)), R),
    "methods": (lambda x: x.sum(0) * x.prod(0) + x.max(0) * x.min() + x.var(0) * x.std(), R),
    "sum_scalar": (lambda x: np.sum(x[0]) + x[1].sum() + np.max(x[0]) + np.prod(x[1]), U),
    "var_ddof": (lambda x: np.var(x, 0, ddof=2) + np.std(x, axis=(0, 1), ddof=1.5), R),
    "var_where_ddof": (lambda x: np.var(x, 0, ddof=1, where=MASK | (R > 1)), R),
    "complex_var_where": (lambda z: np.var(z, 1, where=np.real(Z) > -0.3), Z),
    "complex_sum": (lambda z: np.sum(z, axis=0) * np.prod(z, axis=1)[0] * np.mean(z), Z),
    "complex_nan": (lambda z: np.nansum(z, axis=0) * np.nanmean(z) + np.nanvar(z), Z),
    "complex_cumprod": (lambda z: np.cumprod(z, axis=-1) * np.cumsum(z, 0), Z),
    "ptp": (lambda x: np.ptp(x, axis=1, keepdims=True) * np.ptp(x, axis=0) + np.ptp(x), R),
    "average": (lambda x: np.average(x) * np.average(x, axis=-1), R),
    "average_axis_weights": (lambda x: np.average(x, axis=1, weights=x[0] ** 2), R),
    "average_weights_only": (lambda x: np.average(R, axis=0, weights=x**2, keepdims=True), U),
    "average_returned": (
        lambda x: np.multiply(*np.average(x, axis=0, weights=np.exp(x), returned=True)),
        R,
    ),
    "average_returned_count": (
        lambda x: np.multiply(*np.average(x, axis=(0, 1), returned=True)),
        R,
    ),
    # nan
    **{f"{n}": (lambda x, n=n: by_name(n, holed(x)), R) for n in NAN_REDUCED.split()},
    **{f"{n}_axis": (lambda x, n=n: by_name(n, holed(x), axis=-1), R) for n in NAN_REDUCED.split()},
    **{
        f"{n}_kept": (lambda x, n=n: by_name(n, holed(x), axis=(0, 1), keepdims=True), R)
        for n in NAN_REDUCED.split()
    },
    **{
        f"{n}_where": (
            lambda x, n=n: by_name(
                n, holed(x), axis=0, where=R > -0.5, **INITIAL.get(n.removeprefix("nan"), {})
            ),
            R,
        )
        for n in NAN_REDUCED.split()
        if n != "nanmedian"
    },
    **{
        f"{n}_empty_slice": (
            lambda x, n=n: np.where([True, False, True], by_name(n, emptied(x), axis=1), 1.0),
            R,
        )
        for n in NAN_REDUCED.split()
    },
    "nanvar_ddof": (lambda x: np.nanvar(holed(x), 0, ddof=1) * np.nanstd(holed(x), ddof=2), R),
    "nancumsum": (lambda x: np.nancumsum(holed(x), axis=1) * np.nancumsum(holed(x))[5], R),
    "nancumprod": (lambda x: np.nancumprod(holed(x), axis=0) + np.nancumprod(holed(x))[7], R),
    # products and scans
    "prod_zero": (lambda x: np.prod(x), np.array([2.0, 0.0, 3.0, 1.5])),
    "prod_zeros": (lambda x: np.prod(x), np.array([2.0, 0.0, 3.0, 0.0])),
    "prod_many_zeros": (lambda x: np.prod(x), np.array([2.0, 0.0, 0.0, 0.0])),
    "prod_zeros_axes": (lambda x: np.prod(x, axis=(0, 2)), T * (np.abs(T) > 0.4)),
    "prod_zeros_middle": (lambda x: np.prod(x, axis=1, keepdims=True), T * (np.abs(T) > 0.4)),
    "prod_of_powers": (lambda x: np.prod(x**3) * np.prod(x[:2]), np.array([1.2, 0.0, -0.4])),
    "cumprod_zeros": (np.cumprod, np.array([2.0, 0.0, 3.0, 0.0, -1.0, 0.5])),
    "cumprod_zeros_axis": (lambda x: np.cumprod(x, axis=1), T * (np.abs(T) > 0.4)),
    "cumprod_flat": (lambda x: np.cumprod(x) + x.cumprod(0).ravel(), R),
    "cumsum": (lambda x: np.cumsum(x) * x.cumsum(axis=-2).ravel(), R),
    "cumsum_one": (lambda x: np.cumsum(x[0]) * np.cumprod(x[1:2]), U),
    # order
    "sort": (lambda x: np.sort(x) ** 2 * np.sort(x, axis=0) + np.sort(x, axis=None)[3], R),
    "sort_kind": (lambda x: np.sort(x, kind="stable", axis=1) * x, T),
    "sort_method": (lambda x: sorted_in_place(x**2), R),
    "complex_sort": (lambda z: np.sort(z, axis=1) ** 2 * np.sort_complex(z), Z),
    "partition": (
        lambda x: np.partition(x, 1, axis=0)[1] * np.partition(x, (0, 2), axis=None)[2],
        R,
    ),
    "argsort": (lambda x: x[np.argsort(x)] * x[x.argmax()] * x[np.argpartition(x, 2)[2]], V),
    "argmax": (lambda x: np.take_along_axis(x, np.argmax(x, 1, keepdims=True), 1) * x, R),
    "unique": (lambda x: np.unique(np.concatenate([x, x[:1]])) ** 2, U),
    "unique_more": (
        lambda x: (lambda v, i, inv, c: v[inv.ravel()] * c[inv.ravel()] * x.ravel()[i])(
            *np.unique(x, return_index=True, return_inverse=True, return_counts=True)
        ),
        R,
    ),
    "unique_axis": (lambda x: np.unique(x, axis=0) ** 2, R),
    # quantiles
    "median": (lambda x: np.median(x) * np.median(x, axis=0) * np.median(x, axis=-1)[0], R),
    "median_axes": (lambda x: np.median(x, axis=(-1, 0), keepdims=True) * x, T),
    "quantile_many": (lambda x: np.quantile(x, [[0.1, 0.5], [0.77, 1.0]], axis=(0, 2)), T),
    "quantile_kept": (lambda x: np.quantile(x, [0.15, 0.6], axis=1, keepdims=True) * x[None], R),
    "percentile": (lambda x: np.percentile(x, 37) * np.percentile(x, [0, 20, 90], axis=0), R),
    "quantile_traced": (
        lambda q: np.quantile(R, q, axis=1) * np.percentile(V, 100 * q[0], method="hazen"),
        np.array([0.23, 0.88]),
    ),
    "quantile_both": (lambda x: np.quantile(x, x[0, 3] + 0.12, axis=0), R),
    **{
        f"quantile_{m}": (lambda x, m=m: np.quantile(x, [0.13, 0.5, 0.81], method=m) ** 2, V)
        for m in METHODS.split()
    },
    **{
        f"nanquantile_{m}": (
            lambda x, m=m: np.nanquantile(holed(x), [0.13, 0.8], axis=1, method=m) ** 2,
            R,
        )
        for m in METHODS.split()
        if m != "closest_observation"
    },
    "nanpercentile": (lambda x: np.nanpercentile(holed(x), [30.0, 60], axis=0, keepdims=True), R),
}
if NEW:
    CASES |= {
        "var_correction": (lambda x: np.var(x, 0, correction=1) + np.std(x, correction=2), R),
        "var_mean": (lambda x: np.var(x, 0, mean=np.mean(x, 0, keepdims=True) + 1), R),
        "cumulative_sum": (
            lambda x: np.cumulative_sum(x, axis=-1, include_initial=True)[:, 1:] * x,
            R,
        ),
        "cumulative_prod": (
            lambda x: np.cumulative_prod(x[0]) * np.cumulative_prod(x, axis=1),
            R,
        ),
        "cumulative_initial": (
            lambda x: np.cumulative_prod(x, axis=0, include_initial=True),
            np.array([0.0, 2.0, 0.0]),
        ),
        "average_axes_weights": (lambda x: np.average(x, axis=(2, 0), weights=x[:, 0].T ** 2), T),
        "unique_values": (lambda x: np.unique_values(x) ** 2, U),
    }


def sorted_in_place(y: Any) -> Any:
    y = y.copy()
    y.sort(axis=0)
    return y * np.arange(4.0)


@pytest.fixture(autouse=True)
def nothing_to_say_of_empty_slices() -> Any:
    """NumPy warns where a slice is all nan; so may the engine."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "Mean of empty|All-NaN|Degrees of freedom")
        yield


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order(name: str) -> None:
    check_to_second_order(name, *CASES[name])


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1].dtype == np.float64])
def test_dtype_is_kept(name: str) -> None:
    expected = None
    if "quantile" in name or "percentile" in name:
        # NumPy makes float64 of float32 data beside a float64 q; here the data decide.
        expected = np.float64 if name == "quantile_traced" else np.float32
    check_dtype_is_kept(*CASES[name], expected)


PINNED: dict[str, tuple[Any, Any, Any]] = {
    "max_ties": (np.max, [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]),
    "nanmax_ties": (np.nanmax, [1.0, np.nan, 1.0], [0.5, 0.0, 0.5]),
    "std_equal": (np.std, [1.0, 1.0], [0.0, 0.0]),
    "nanstd_equal": (np.nanstd, [1.0, 1.0, np.nan], [0.0, 0.0, 0.0]),
    "prod_one_zero": (np.prod, [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
    "prod_two_zeros": (np.prod, [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
    "median_nan": (np.median, [0.0, np.nan, 3.0], [0.0, 0.0, 0.0]),
    "mean_where_nan": (lambda x: np.nanmean(x), [1.0, np.nan], [1.0, 0.0]),
    "max_initial": (lambda x: np.max(x, initial=5.0), [1.0, 2.0], [0.0, 0.0]),
}


@pytest.mark.parametrize("name", PINNED)
def test_kinks(name: str) -> None:
    f, x, expected = PINNED[name]
    np.testing.assert_array_equal(gradient(f, np.array(x)), expected)


def test_all_nan_slices() -> None:
    for f in (np.nanmax, np.nanmin, np.nanmedian, np.nanmean, np.nanstd):
        (value,), _ = vjp(lambda x, f=f: (f(x, axis=1),), [EMPTY_ROW])
        np.testing.assert_array_equal(np.isnan(value), [False, True, False])


def test_no_degrees_of_freedom() -> None:
    (value,), pullback = vjp(lambda x: (np.nanvar(x, ddof=2),), [np.array([1.0, np.nan, 2.0])])
    assert np.isnan(value)
    assert np.isnan(pullback([np.float64(1.0)])[0][0])


@pytest.mark.parametrize("f", [np.sum, np.prod, np.cumsum, np.cumprod, np.sort])
def test_empty_arrays(f: Any) -> None:
    for shape in ((0,), (2, 0), (0, 3)):
        x = np.zeros(shape)
        (value,), pullback = vjp(lambda y: (f(y, axis=-1) * 2.0,), [x])
        np.testing.assert_array_equal(value, f(x, axis=-1) * 2.0)
        (g,) = pullback([np.ones_like(value)])
        assert g.shape == shape
    (value,), _ = vjp(
        lambda y: (np.max(y, initial=3.0, axis=0) + np.sum(y, 0),), [np.zeros((0, 2))]
    )
    np.testing.assert_array_equal(value, [3.0, 3.0])


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "var", "std", "cumsum", "cumprod"])
def test_numbers_and_strides(name: str) -> None:
    f = getattr(np, name)
    assert gradient(lambda x: np.sum(f(x)), np.float64(2.0)).shape == ()
    assert gradient(lambda x: np.sum(f(x)), np.array(2.0)).shape == ()
    x = np.asfortranarray(T)[:, ::-1, ::2]
    np.testing.assert_allclose(
        gradient(lambda y: np.sum(f(y, axis=1) ** 2), x),
        gradient(lambda y: np.sum(f(y, axis=1) ** 2), x.copy()),
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "sum_out": (lambda x: np.sum(x, out=np.zeros(())), "y = ..."),
    "quantile_closest": (
        lambda x: np.nanquantile(x, 0.3, method="closest_observation"),
        "use one of",
    ),
    "ddof": (lambda x: np.var(x, ddof=x[0]), "stop_gradient"),
    "weighted_quantile": (
        lambda x: np.quantile(x, 0.5, method="inverted_cdf", weights=U),
        "weights",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_type(name: str) -> None:
    f, words = REFUSED[name]
    if name == "weighted_quantile" and not NEW:
        pytest.skip("NumPy 1 has no weights here")
    with pytest.raises(TracingError, match=words):
        vjp(lambda x: (f(x),), [U])


def test_numpys_own_complaints() -> None:
    with pytest.raises(ValueError, match="identity"):
        vjp(lambda x: (np.max(x, where=U > 0.2),), [U])
    with pytest.raises(ValueError, match="range"):
        vjp(lambda x: (np.quantile(x, 1.5),), [U])
    with pytest.raises(ValueError, match="out of bounds"):
        vjp(lambda x: (np.cumsum(x, axis=3),), [U])
