"""NumPy's functions that MXNet lacks, on ``mx.np`` arrays; and writing in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, UnsupportedError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from unigrad_mxnet.framework import mx

mnp = mx.np
Array = Any

VECTOR = np.array([0.7, 2.0, 3.2])
MATRIX = np.array([[2.0, 1.0], [0.5, 3.0]])


def array(values: Any, kind: str = "np", dtype: str = "float64") -> Array:
    x = B.asarray(np.asarray(values, dtype=dtype))
    return x if kind == "np" else x.as_nd_ndarray()


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]] = {
    # name: of mx.np arrays, the same of NumPy's, at
    "interp": (
        lambda x: mnp.interp(x, array([0.0, 2.0, 5.0]), array([0.0, 1.0, 9.0])),
        lambda x: np.interp(x, np.array([0.0, 2.0, 5.0]), np.array([0.0, 1.0, 9.0])),
        VECTOR + 0.1,
    ),
    "lstsq": (
        lambda a: mnp.linalg.lstsq(a, array([[1.0], [2.0]]), rcond=None)[0],
        lambda a: np.linalg.lstsq(a, np.array([[1.0], [2.0]]), rcond=None)[0],
        MATRIX,
    ),
    "matrix_power": (
        lambda a: mnp.linalg.matrix_power(a, 3),
        lambda a: np.linalg.matrix_power(a, 3),
        MATRIX,
    ),
    "multi_dot": (
        lambda a: mnp.linalg.multi_dot([a, a, a * 2.0]),
        lambda a: np.linalg.multi_dot([a, a, a * 2.0]),
        MATRIX,
    ),
    "qr": (lambda a: mnp.linalg.qr(a)[1] ** 2, lambda a: np.linalg.qr(a)[1] ** 2, MATRIX),
    "cond": (mnp.linalg.cond, np.linalg.cond, MATRIX),
    "trapz": (lambda x: mnp.trapz(x * x), lambda x: np.trapezoid(x * x), VECTOR),
    "logaddexp": (lambda x: np.logaddexp(x, x * x), lambda x: np.logaddexp(x, x * x), VECTOR),
    "float_power": (lambda x: mnp.float_power(x, 2.5), lambda x: np.float_power(x, 2.5), VECTOR),
    "cross": (
        lambda x: np.cross(x, array([1.0, -2.0, 0.5]) * x),
        lambda x: np.cross(x, np.array([1.0, -2.0, 0.5]) * x),
        VECTOR,
    ),
    "cumprod": (np.cumprod, np.cumprod, VECTOR),
    "convolve": (lambda x: np.convolve(x, x), lambda x: np.convolve(x, x), VECTOR),
    "gradient": (lambda x: np.gradient(x * x), lambda x: np.gradient(x * x), VECTOR),
    "cov": (lambda a: np.cov(a * a), lambda a: np.cov(a * a), MATRIX),
    "select, by keyword": (
        lambda x: np.select(condlist=[x > 1], choicelist=[x * x], default=0.0),
        lambda x: np.select(condlist=[x > 1], choicelist=[x * x], default=0.0),
        VECTOR,
    ),
    "searchsorted beside it": (
        lambda x: x * x * np.searchsorted(array([1.0, 2.5]), x),
        lambda x: x * x * np.searchsorted(np.array([1.0, 2.5]), x),
        VECTOR,
    ),
}
if np.lib.NumpyVersion(np.__version__) < "2.0.0":
    CASES["trapz"] = (lambda x: mnp.trapz(x * x), lambda x: np.trapz(x * x), VECTOR)


def _loss(f: Callable[..., Any]) -> Callable[..., Any]:
    """One number, with weights that are not constant."""

    def loss(x: Any) -> Any:
        y = f(x)
        return (y * y * y).sum() + (y * 0.5).sum()

    return loss


@pytest.mark.parametrize("name", CASES)
def test_a_function_that_mxnet_lacks(name: str) -> None:
    """Value and derivatives of first and second order are NumPy's; the gradient is the slope."""
    f, plain, at = CASES[name]
    rng = np.random.default_rng(0)
    v = rng.normal(size=at.shape)
    loss, other = _loss(f), _loss(plain)
    value, gradient = ug.value_and_grad(loss)(array(at))
    assert isinstance(gradient, mnp.ndarray)
    np.testing.assert_allclose(B.to_numpy(value), other(at), rtol=1e-13)
    np.testing.assert_allclose(B.to_numpy(gradient), ug.grad(other)(at), rtol=1e-12, atol=1e-12)
    h = 1e-6
    slope = (other(at + h * v) - other(at - h * v)) / (2 * h)
    np.testing.assert_allclose(np.sum(B.to_numpy(gradient) * v), slope, rtol=1e-6)
    product = B.to_numpy(ug.hvp(loss, array(at), array(v)))
    np.testing.assert_allclose(product, ug.hvp(other, at, v), rtol=1e-11, atol=1e-11)


def test_single_precision_stays() -> None:
    x = array(VECTOR, dtype="float32")
    gradient = ug.grad(lambda x: np.cumprod(x).sum())(x)
    assert B.dtype(gradient) == "float32"
    np.testing.assert_allclose(B.to_numpy(gradient), [9.4, 2.94, 1.4], rtol=1e-6)


def test_constants_and_nested_derivatives() -> None:
    c = array(VECTOR)
    gradient = ug.grad(lambda x: (x * np.cumprod(c)).sum())(array(VECTOR))
    np.testing.assert_allclose(B.to_numpy(gradient), np.cumprod(VECTOR))
    inner = ug.grad(lambda x: np.cumprod(x)[2])
    outer = ug.grad(lambda x: inner(x)[0])(array(VECTOR))
    np.testing.assert_allclose(B.to_numpy(outer), [0.0, 3.2, 2.0])


def test_what_is_refused_says_so() -> None:
    c = array(VECTOR)
    refused: list[tuple[Callable[[Any], Any], str]] = [
        (lambda x: abs(np.fft.fft(x)).sum(), "numpy.fft.fft was called.*complex128"),
        (lambda x: np.apply_along_axis(lambda v: v * c, 0, x).sum(), "given a function"),
        (lambda x: np.cumprod(x, out=c).sum(), "given out="),
        (lambda x: (np.put(x, [0], [1.0]), x.sum())[1], "numpy.put.*writes into its argument"),
    ]
    for f, message in refused:
        with pytest.raises(UnsupportedError, match=message):
            ug.grad(f)(array(VECTOR))
    np.testing.assert_array_equal(B.to_numpy(c), VECTOR)


def test_mxnets_protocols_are_put_back() -> None:
    before = {k: vars(mnp.ndarray)[k] for k in ("__array_ufunc__", "__array_function__")}
    ug.grad(lambda x: np.cumprod(x).sum())(array(VECTOR))
    assert {k: vars(mnp.ndarray)[k] for k in before} == before
    assert all(isinstance(v, staticmethod) for v in before.values())


# -------------------------------------------------------------------- in place


def _entry(x: Any) -> Any:
    y = x * 2
    y[0] = 5.0
    return y.sum()


def _added(x: Any) -> Any:
    y = x * 2
    y += x
    return y.sum()


def _filled(x: Any) -> Any:
    y = x.zeros_like() if type(x) is mx.nd.NDArray else mnp.zeros_like(x)
    y[0] = x[1]
    return y.sum()


@pytest.mark.parametrize("kind", ["np", "nd"])
@pytest.mark.parametrize("f", [_entry, _added, _filled])
def test_writing_in_place_says_where_and_what_to_type(f: Any, kind: str) -> None:
    line = f.__code__.co_firstlineno + 2
    for order in (lambda x: ug.grad(f)(x), lambda x: ug.hvp(f, x, x)):
        with pytest.raises(UnsupportedError, match=rf"in place \(line {line} .*y = y \+ "):
            order(array(VECTOR, kind))


def test_an_error_of_mxnets_in_writing_stays_its_own() -> None:
    def f(x: Any) -> Any:
        mx.nd.broadcast_add(x, x, out=mx.nd.zeros((7,), dtype="float64"))
        return x.sum()

    with pytest.raises(mx.MXNetError):
        ug.grad(f)(array(VECTOR, "nd"))
