"""Plain NumPy code on ``mx.np`` arrays, differentiated by the engine, inside MXNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import engine
from unigrad.errors import BackendNotAvailableError, TracingError

try:
    MXNET = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

from unigrad_mxnet.guest import Guest

RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(3, 2)), RNG.normal(size=2)
X, Y = RNG.normal(size=(4, 3)), np.eye(2)[RNG.integers(0, 2, 4)]


def network(w: Any, b: Any) -> Any:
    z = np.tanh(X @ w + b)
    z = z - np.max(z, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - np.sum(z * Y, axis=1))


def written(w: Any, b: Any) -> Any:
    out = np.zeros_like(w)
    out[0] = b
    out[1:] = w[1:] * b
    return np.sum(out**2)


PROGRAMS = {
    "network": network,
    "written": written,
    "slices": lambda w, b: np.sum((w[1:] * w[:-1]) ** 2) * np.sum(np.roll(b, 1) * b),
    "linalg": lambda w, b: np.linalg.norm(w) + np.sum(np.linalg.inv(w.T @ w + np.eye(2)) @ b),
    "branches": lambda w, b: np.sum(np.where(w > 0, w**3, 0.5 * w)) - np.sum(np.maximum(w, b)),
    "joined": lambda w, b: np.sum(np.concatenate([b, b**2, w[0]]) ** 3),
    "masked": lambda w, b: np.sum(w[np.array([True, False, True])] ** 2 * b),
}


def mx_arrays(*arrays: Any) -> list[Any]:
    return [Guest(MXNET.asarray(a)) for a in arrays]


@pytest.mark.parametrize("name", PROGRAMS)
def test_first_and_second_order(name: str) -> None:
    def f(*xs: Any) -> tuple[Any]:
        return (PROGRAMS[name](*xs),)

    def along(v: Any) -> Any:
        return lambda *xs: (engine.jvp(f, xs, v)[1][0],)

    with mx.util.np_shape(True), mx.util.np_array(True):
        xs, v = [W, B], [RNG.normal(size=W.shape), RNG.normal(size=B.shape)]
        for want, got in (
            (engine.value_and_grad(f, xs)[1], engine.value_and_grad(f, mx_arrays(*xs))[1]),
            (
                engine.value_and_grad(along(v), xs)[1],
                engine.value_and_grad(along(mx_arrays(*v)), mx_arrays(*xs))[1],
            ),
        ):
            for a, b in zip(want, got, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(b.array.asnumpy(), a, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda w: np.sum(np.logaddexp(w, 1.0)), "MXNet has no function mx.np.logaddexp"),
        (lambda w: np.sum(np.abs(w * 1j)), "MXNet has no arrays of complex"),
        (lambda w: np.sum(w.reshape(-1, order="F")), "MXNet has no function mx.np.reshape"),
    ],
)
def test_what_mxnet_lacks_is_refused(f: Any, message: str) -> None:
    with mx.util.np_shape(True), mx.util.np_array(True), pytest.raises(TracingError, match=message):
        engine.value_and_grad(lambda w: (f(w),), mx_arrays(W))
