"""What MXNet would get wrong in silence: views, written constants, copies; and cancellation."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, HigherOrderError, UnsupportedError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

CLASSES = {"np": mx.np, "nd": mx.nd}


def array(values: Any, kind: str = "nd", dtype: str = "float64") -> Any:
    x = B.asarray(np.asarray(values, dtype=dtype))
    return x if kind == "np" else x.as_nd_ndarray()


def numbers(x: Any) -> Any:
    return B.to_numpy(x)


# -------------------------------------------------------------------- pooling of views

IMAGES = np.random.default_rng(0).normal(size=(2, 1, 4, 4))
VIEWS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "none": (lambda x: x, (2, 1, 4, 4)),
    "reshape": (lambda x: x.reshape((2, 1, 4, 4)), (2, 16)),
    "entry": (lambda x: x[0], (1, 2, 1, 4, 4)),
    "slice": (lambda x: x[0:2], (2, 1, 4, 4)),
    "of a result": (lambda x: (x * 1).reshape((2, 1, 4, 4)), (2, 16)),
    "of a view": (lambda x: x[0].reshape((2, 1, 4, 4)), (1, 2, 16)),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", CLASSES)
def test_max_pooling_of_a_view(kind: str, view: str) -> None:
    take, shape = VIEWS[view]
    pooling = mx.npx.pooling if kind == "np" else mx.nd.Pooling

    def f(x: Any) -> Any:
        y = pooling(take(x), kernel=(2, 2), stride=(2, 2), pool_type="max")
        return (y * y).sum()

    blocks = IMAGES.reshape(2, 1, 2, 2, 2, 2)
    largest = blocks == blocks.max(axis=(3, 5), keepdims=True)
    expected = np.where(largest, 2 * blocks, 0).reshape(shape)
    x = array(IMAGES.reshape(shape), kind, "float32")
    for _ in range(3):
        np.testing.assert_allclose(numbers(ug.grad(f)(x)), expected, rtol=1e-6)


def test_max_pooling_of_a_view_in_a_hybridized_block() -> None:
    block = mx.gluon.nn.MaxPool2D(2)
    block.hybridize()
    x = array(IMAGES.reshape(2, 16), dtype="float32")
    gradient = ug.grad(lambda x: (block(x.reshape((2, 1, 4, 4))) ** 2).sum())(x)
    blocks = IMAGES.reshape(2, 1, 2, 2, 2, 2)
    largest = blocks == blocks.max(axis=(3, 5), keepdims=True)
    expected = np.where(largest, 2 * blocks, 0).reshape(2, 16)
    np.testing.assert_allclose(numbers(gradient), expected, rtol=1e-6)


# -------------------------------------------------------------------- values that cancel


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_divergence_at_its_minimum(dtype: str) -> None:
    """The Fisher information of softmax: diag(p) - p p^T."""
    values = np.random.RandomState(3).randn(5)
    logits, v = array(values, dtype=dtype), array([1, 0, 0, 0, 0], dtype=dtype)
    q = mx.nd.log_softmax(logits)
    product = ug.hvp(lambda x: (mx.nd.exp(q) * (q - mx.nd.log_softmax(x))).sum(), logits, v)
    p = np.exp(numbers(q))
    np.testing.assert_allclose(numbers(product), p * [1, 0, 0, 0, 0] - p * p[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_residuals_that_are_zero(dtype: str) -> None:
    x = np.array([[1.0, 0.3], [0.7, 2.0], [0.1, 0.9]])
    xs, w, v = array(x, dtype=dtype), array([0.3, 0.7], dtype=dtype), array([1, 1], dtype=dtype)
    b = mx.nd.dot(xs, w)

    def f(w: Any) -> Any:
        return ((xs * w.reshape((1, 2))).sum(axis=1) - b).square().sum()

    np.testing.assert_allclose(numbers(ug.hvp(f, w, v)), 2 * x.T @ x @ [1, 1], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_value_is_refused_where_large_numbers_cancel(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unigrad_mxnet.operators import OPERATORS

    monkeypatch.setitem(
        OPERATORS, "_minus_scalar", lambda xs, attrs, training: [xs[0] - attrs.real("scalar") + 0.1]
    )
    x = array([1.0, 1.0], dtype=dtype)
    with pytest.raises(HigherOrderError, match="is not the one that MXNet gave"):
        ug.hvp(lambda x: ((x + 100.0) - 101.0).sum(), x, x)


# -------------------------------------------------------------------- written constants


def _fill(c: Any) -> None:
    c[:] = 7


def _add(c: Any) -> None:
    c += 6


WRITES: dict[str, Callable[[Any], None]] = {
    "all": _fill,
    "add": _add,
    "row": lambda c: c.__setitem__(1, 7),
    "slice": lambda c: c.__setitem__(slice(1, 2), 7),
    "entry": lambda c: c.__setitem__((1, 0), 7),
    "of NumPy": lambda c: c.__setitem__(slice(None), np.full(c.shape, 7.0)),
    "row of NumPy": lambda c: c.__setitem__(1, np.full(c.shape[1:], 7.0)),
    "view": lambda c: _fill(c[1:2]),
    "detached": lambda c: _fill(c.detach()),
    "detached of NumPy": lambda c: c.detach().__setitem__(slice(None), np.full(c.shape, 7.0)),
    "copyto": lambda c: (c * 7).copyto(c),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", CLASSES)
def test_a_constant_that_is_written_after_its_use(kind: str, write: str) -> None:
    m = CLASSES[kind]
    x = array(np.arange(6.0).reshape(3, 2) + 1, kind)

    def gradient(take: Callable[..., Any], x: Any) -> Any:
        c = m.ones((3, 2), dtype="float64")

        def f(x: Any) -> Any:
            y = x * c
            with mx.autograd.pause():
                WRITES[write](c)
            return (y * y).sum()

        return numbers(take(f, x))

    ones = array(np.ones((3, 2)), kind)
    expected = 2 * numbers(x)
    assert gradient(lambda f, x: ug.grad(f)(x), x).tolist() == expected.tolist()
    assert gradient(lambda f, x: ug.hvp(f, x, ones), x).tolist() == [[2.0, 2.0]] * 3
    assert gradient(lambda f, x: ug.hvp(f, x, ones), x * 0).tolist() == [[2.0, 2.0]] * 3


def test_a_constant_that_is_written_and_used_again() -> None:
    x = array([3.0, 5.0])

    def f(x: Any) -> Any:
        c = array([1.0, 2.0])
        y = x * c
        with mx.autograd.pause():
            c[:] = 10 * c
        return (y * c * x).sum()

    assert numbers(ug.grad(f)(x)).tolist() == [60.0, 400.0]
    assert numbers(ug.hvp(f, x, array([1.0, 1.0]))).tolist() == [20.0, 80.0]


# -------------------------------------------------------------------- copies


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "make",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_python_s_own_is_refused(kind: str, make: Callable[[Any], Any]) -> None:
    x = array([1.0, 2.0], kind)
    with pytest.raises(UnsupportedError, match=r"type: x\.copy\(\)"):
        ug.grad(lambda x: (make(x) * x).sum())(x)
    with pytest.raises(UnsupportedError, match=r"type: x\.copy\(\)"):
        ug.hvp(lambda x: (make(x * x) * x).sum(), x, x)
    assert numbers(ug.grad(lambda x: (make(x.detach()) * x).sum())(x)).tolist() == [1.0, 2.0]
    assert numbers(ug.grad(lambda x: (x.copy() * x).sum())(x)).tolist() == [2.0, 4.0]
    assert numbers(make(x)).tolist() == [1.0, 2.0]
