"""Writes through views and into their bases: arrays that share memory, and MXNet's silence.

MXNet takes an array whose memory was written through another one for a constant, and its
derivative would be zero. It is refused; what shares no memory, or is made afterwards, is right.
"""

from __future__ import annotations

import gc
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

import mxnet as mx

from conformance_tests.unit.mxnet_derivatives import array, numbers

F = Callable[[Any], Any]

TAKES: dict[str, Callable[[F, Any], Any]] = {
    "grad": lambda f, x: ug.grad(f)(x),
    "hvp": lambda f, x: ug.hvp(f, x, x),
    "jvp": lambda f, x: ug.jvp(f, (x,), (x,))[1],
    "vjp": lambda f, x: ug.vjp(f, x)[1](f(x))[0],
    "jitted": lambda f, x: ug.jit(lambda x: ug.grad(f)(x))(x),
    "inside": lambda f, x: ug.grad(lambda x: (ug.grad(f)(x) * x).sum())(x),
}


def x() -> Any:
    return array([1.0, 2.0, 3.0])


def buffer(count: int = 5) -> Any:
    return mx.nd.zeros((count,), dtype="float64")


def squares(y: Any) -> Any:
    return (y**2).sum()


# -------------------------------------------------------------------- refused


def put(y: Any, values: Any) -> None:
    y[:] = values


def written_slice(x: Any) -> Any:
    y = buffer()
    put(y[1:4], x**2)
    return squares(y)


def written_reshape(x: Any) -> Any:
    y = buffer(3)
    put(y.reshape((-1,)), x**2)
    return squares(y)


def written_row(x: Any) -> Any:
    y = mx.nd.zeros((2, 3), dtype="float64")
    put(y[0], x**2)
    return squares(y)


def written_rows(x: Any) -> Any:
    y = mx.nd.zeros((2, 3), dtype="float64")
    for row in y:
        put(row, x**2)
    return squares(y)


def written_detached(x: Any) -> Any:
    y = buffer(3)
    put(y.detach(), x**2)
    return squares(y)


def written_view_of_detached(x: Any) -> Any:
    y = buffer()
    put(y.detach()[1:4], x**2)
    return squares(y)


def written_by_out(x: Any) -> Any:
    y = buffer()
    mx.nd.broadcast_mul(x, x, out=y[1:4])
    return squares(y)


def written_as_np(x: Any) -> Any:
    y = buffer(3)
    put(y.as_np_ndarray(), (x**2).as_np_ndarray())
    return squares(y)


def written_base(x: Any) -> Any:
    y = buffer(3)
    z = y[0:2]
    put(y, x**2)
    return squares(z)


def written_base_of_a_used_view(x: Any) -> Any:
    y = buffer(3) + 1
    z = y[0:2]
    used = (z * x[0]).sum()
    put(y, x**2)
    return used + squares(z)


def written_overlap(x: Any) -> Any:
    y = buffer(6)
    one, other = y[0:3], y[2:5]
    put(one, x**2)
    return squares(other)


def returned(x: Any) -> Any:
    y = buffer(1)
    put(y[0:1], (x**2).sum().reshape((1,)))
    return y


def asked_for_its_number(x: Any) -> Any:
    y = buffer()
    put(y[1:4], x**2)
    return float(y[1].asnumpy()[0]) * x.sum()


def added_to_a_slice(x: Any) -> Any:
    y = buffer()
    y[1:4] += x**2
    return squares(y)


def split_into_views(x: Any) -> Any:
    y = buffer(3)
    mx.nd.split(x**2, 3, axis=0, out=[y[i : i + 1] for i in range(3)])
    return squares(y)


def read_by_a_block(x: Any) -> Any:
    y = buffer(3)
    put(y[0:3], x**2)
    block = mx.gluon.nn.HybridLambda("square")
    block.hybridize()
    return block(y).sum()


def read_inside(x: Any) -> Any:
    y = buffer(3)
    put(y[0:3], x**2)
    return (ug.grad(lambda w: (w * w * y).sum())(x) * x).sum()


OUTSIDE = mx.nd.zeros((2, 3), dtype="float64")
VIEW = OUTSIDE[1]


def written_outside(x: Any) -> Any:
    put(OUTSIDE[0], x**2)
    return squares(OUTSIDE)


def written_by_an_older_view(x: Any) -> Any:
    put(VIEW, x**2)
    return squares(OUTSIDE)


def tensordot_of_a_base(x: Any) -> Any:
    y = buffer(3)
    put(y[0:3], x**2)
    y = y.as_np_ndarray()
    return mx.np.tensordot(y, y, axes=1).as_nd_ndarray().reshape((1,))


REFUSED = [
    written_slice,
    written_reshape,
    written_row,
    written_rows,
    written_detached,
    written_view_of_detached,
    written_by_out,
    written_as_np,
    written_base,
    written_base_of_a_used_view,
    written_overlap,
    returned,
    asked_for_its_number,
    written_outside,
    written_by_an_older_view,
    tensordot_of_a_base,
    added_to_a_slice,
    split_into_views,
    read_by_a_block,
    read_inside,
]


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_a_write_through_another_array(f: F, take: str) -> None:
    once_more = "|written in place" if f in (written_by_an_older_view, added_to_a_slice) else ""
    with pytest.raises(UnsupportedError, match=f"through another array{once_more}"):
        TAKES[take](f, x())


@pytest.mark.parametrize("take", ["grad", "hvp"])
def test_a_write_through_a_view_in_mx_np(take: str) -> None:
    def f(x: Any) -> Any:
        y = mx.np.zeros((5,), dtype="float64")
        put(y[1:4], x**2)
        return (y**2).sum()

    given = mx.np.array([1.0, 2.0, 3.0], dtype="float64")
    with mx.util.np_shape(True), mx.util.np_array(True), pytest.raises(UnsupportedError) as caught:
        TAKES[take](f, given)
    assert "through another array" in str(caught.value)


def test_a_write_inside_an_inner_derivative() -> None:
    """The buffer is of the function around it."""

    def f(x: Any) -> Any:
        y = buffer()

        def g(w: Any) -> Any:
            put(y[1:4], w * x)
            return (w * w).sum()

        return (ug.grad(g)(x) * x).sum() + squares(y)

    with pytest.raises(UnsupportedError, match="through another array"):
        ug.grad(f)(x())


# -------------------------------------------------------------------- right


def whole(x: Any) -> Any:
    y = buffer(3)
    put(y, x**2)
    return squares(y)


def view_made_afterwards(x: Any) -> Any:
    y = buffer(3)
    put(y, x**2)
    return squares(y[0:2]) + squares(y.reshape((3, 1))[2])


def written_view_itself(x: Any) -> Any:
    y = buffer()
    z = y[1:4]
    put(z, x**2)
    return squares(z)


def neighbours(x: Any) -> Any:
    y = buffer(6) + 1
    one, other = y[0:3], y[3:6]
    put(one, x**2)
    return squares(one) + (other * x).sum() - x.sum()


def detached_on_purpose(x: Any) -> Any:
    y = buffer(3)
    put(y, x**2)
    return squares(y) + (y.detach() * 0).sum() + (y.detach()[0:2] * 0).sum()


def many_buffers(x: Any) -> Any:
    """Memory that is given back and taken again belongs to other arrays."""
    total = 0
    for _ in range(20):
        y = buffer(3)
        put(y, x**2)
        del y
        gc.collect()
        c = buffer(3) + 0.05
        total = total + (c * x**4).sum()
    return total


RIGHT = [whole, view_made_afterwards, written_view_itself, neighbours, many_buffers]


@pytest.mark.parametrize("f", RIGHT, ids=lambda f: f.__name__)
def test_what_is_not_written_through_another_array(f: F) -> None:
    """All are the sum of the fourth powers."""
    np.testing.assert_allclose(numbers(ug.grad(f)(x())), [4.0, 32.0, 108.0])
    np.testing.assert_allclose(numbers(ug.hvp(f, x(), x())), [12.0, 96.0, 324.0])
    np.testing.assert_allclose(numbers(ug.jvp(f, (x(),), (x(),))[1]), [392.0])
    np.testing.assert_allclose(numbers(ug.jit(lambda x: ug.grad(f)(x))(x())), [4.0, 32.0, 108.0])


def test_detached_arrays_are_constants() -> None:
    assert numbers(ug.grad(detached_on_purpose)(x())) == [4.0, 32.0, 108.0]
    assert numbers(ug.hvp(detached_on_purpose, x(), x())) == [12.0, 96.0, 324.0]


def test_a_leaf_of_an_inner_derivative_that_was_written() -> None:
    def f(x: Any) -> Any:
        y = buffer(3)
        put(y, x**2)
        return (ug.grad(squares)(y) * x).sum()

    np.testing.assert_allclose(numbers(ug.grad(f)(x())), [6.0, 24.0, 54.0])


def test_paused_writes_through_views_are_constants() -> None:
    def f(x: Any) -> Any:
        y = buffer(4)
        with mx.autograd.pause():
            put(y[1:4], x**2)
        return (y[1:4] * x).sum()

    assert numbers(ug.grad(f)(x())) == [1.0, 4.0, 9.0]
    assert numbers(ug.hvp(f, x(), x())) == [0.0, 0.0, 0.0]
