"""First order on MXNet, each input differentiated alone: MXNet's own against the engine's.

MXNet's kernels give other numbers, or memory that nobody wrote, when only some of their inputs
are differentiated. `unigrad` must then take the engine's derivative. Memory is filled with nan and
huge numbers beforehand, so that what is not written shows. Labels, indices and lengths are inputs
too: their derivative is zero.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from conformance_tests.unit import (
    mxnet_cases,
    test_mxnet_layers,
    test_mxnet_layers_losses,
    test_mxnet_layers_normalization,
    test_mxnet_layers_recurrent,
    test_mxnet_operators,
    test_mxnet_operators_linalg,
    test_mxnet_operators_np,
)
from conformance_tests.unit.mxnet_cases import Case, mx
from conformance_tests.unit.mxnet_derivatives import array
from conformance_tests.unit.mxnet_layers import Layer, layer
from unigrad_mxnet.adapter import _Run
from unigrad_mxnet.arrays import constant, semantics

B = ug.get_backend("mxnet")

MORE = [
    layer("FullyConnected", (3, 4), (5, 4), (5,), attrs={"num_hidden": 5, "flatten": False}),
    layer(
        "Pooling",
        (2, 3, 7, 8),
        attrs={
            "pool_type": "avg",
            "kernel": (3, 3),
            "stride": (2, 2),
            "pooling_convention": "full",
            "count_include_pad": False,
        },
    ),
    layer("SoftmaxOutput", (3, 4), np.array([1.0, 0, 3]), attrs={"out_grad": True}, tolerance=1e-7),
    layer("softmax_cross_entropy", (3, 4), np.array([1.0, 0, 3])),
]

ROWS: list[Case | Layer] = [
    *test_mxnet_operators.CASES,
    *test_mxnet_operators_np.CASES,
    *test_mxnet_operators_linalg.CASES,
    *test_mxnet_layers.CASES,
    *test_mxnet_layers_losses.DECLARED,
    *test_mxnet_layers_losses.CTC,
    *test_mxnet_layers_normalization.CASES,
    *test_mxnet_layers_recurrent.CASES,
    *MORE,
]

WRITTEN = ("mask=s", "mask=y")
"""MXNet itself refuses to write into what it has recorded."""


def _unstable(row: Case | Layer, dtype: str) -> bool:
    """Whether the value itself that MXNet gives is not always the same."""
    return dtype == "float32" and "Deconvolution" in str(row) and "num_group" in str(row)


@dataclass
class Prepared:
    call: Callable[..., Any]
    arrays: list[Any]
    active: list[int]
    training: bool = False
    tolerance: float = 1e-9

    @property
    def others(self) -> list[int]:
        """The inputs that have floating-point numbers, and a derivative of zero."""
        floats = [np.dtype(x.dtype).kind == "f" and x.stype == "default" for x in self.arrays]
        return [i for i, is_float in enumerate(floats) if is_float and i not in self.active]

    def function(self, which: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
        def f(*leaves: Any) -> tuple[Any, ...]:
            xs = list(self.arrays)
            for i, x in zip(which, leaves, strict=True):
                xs[i] = x
            found = self.call(*xs)
            return tuple(found) if isinstance(found, list | tuple) else (found,)

        return f


def _prepared(row: Case | Layer, dtype: str) -> Prepared:
    if isinstance(row, Case):
        values, active = mxnet_cases.build(row, dtype)
        xs = [mxnet_cases.to_mxnet(row, x) for x in values]
        return Prepared(row.call, xs, [i for i, a in enumerate(active) if a])
    space, name = mx.nd, row.op
    if name.startswith("_contrib_"):
        space, name = mx.nd.contrib, name.removeprefix("_contrib_")
    operator, attrs = vars(space)[name], dict(row.attrs)
    xs = [constant(x).as_nd_ndarray() for x in row.arrays(dtype)]
    return Prepared(
        lambda *ys: operator(*ys, **attrs),
        xs,
        list(row.argnums),
        row.training,
        1e-7 if "Output" in row.op else 1e-9,
    )


def _fill_memory(arrays: Sequence[Any]) -> None:
    """Write into memory of these sizes and give it back."""
    for value in (np.nan, 1e30):
        kept = [mx.nd.full(x.size or 1, value, dtype=x.dtype) for x in arrays for _ in range(3)]
        for x in kept:
            x.wait_to_read()


def _cotangent(y: Any) -> Any:
    if np.dtype(y.dtype).kind != "f":
        return None
    values = mxnet_cases.head(B.to_numpy(y)) + 0.3
    return B.asarray(values.astype(np.dtype(y.dtype)), like=y)


def _check(row: Case | Layer, dtype: str, prepared: Prepared, which: Sequence[int]) -> None:
    f, leaves = prepared.function(which), [prepared.arrays[i] for i in which]
    _fill_memory(prepared.arrays)
    outputs, pullback = B.vjp(f, leaves)
    cotangents = [_cotangent(y) for y in outputs]
    if all(c is None for c in cotangents):
        return
    _fill_memory(prepared.arrays)
    found = pullback(cotangents)
    run = _Run(f, leaves, exact=True)
    wanted = run.exact().vjp(leaves, run.outputs, None)(cotangents)
    for x, got, expected in zip(leaves, found, wanted, strict=True):
        g = np.zeros(x.shape) if got is None else B.to_numpy(got)
        w = np.zeros(x.shape) if expected is None else B.to_numpy(expected)
        scale = max(1.0, float(np.max(np.abs(w), initial=0.0)))
        tolerance = (prepared.tolerance if dtype == "float64" else 2e-4) * scale
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance, err_msg=f"{which}")


@pytest.mark.parametrize("row", [r for r in ROWS if str(r) not in WRITTEN], ids=str)
def test_each_input_alone(row: Case | Layer) -> None:
    for dtype in ("float64", "float32"):
        if not (row.double if dtype == "float64" else row.single) or _unstable(row, dtype):
            continue
        with mxnet_cases.scope(row) if isinstance(row, Case) else contextlib.nullcontext():
            prepared = _prepared(row, dtype)
            mode = mx.autograd.train_mode if prepared.training else mx.autograd.predict_mode
            every = [*prepared.active, *prepared.others]
            for which in [*[[i] for i in every], prepared.active, every]:
                if which:
                    with mode(), semantics(*prepared.arrays):
                        _check(row, dtype, prepared, which)


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
def test_the_weights_and_the_bias_of_a_hybridized_net() -> None:
    """A compiled block is taken as it is only where all of MXNet's own derivative is right."""
    net = mx.gluon.nn.Dense(3, in_units=4)
    net.initialize()
    net.hybridize()
    apply, params = ug.functional(net, mode=None)
    x = mx.nd.ones((2, 4))

    def loss(p: Any) -> Any:
        return (apply({**params, **p}, x) ** 2).sum()

    for names in (list(params), *[[name] for name in params]):
        some = {name: params[name] for name in names}
        _fill_memory(list(params.values()))
        got = ug.grad(loss)(some)
        _, wanted, _ = ug.value_grad_and_hvp(loss, some, some)
        for name in names:
            np.testing.assert_allclose(got[name].asnumpy(), wanted[name].asnumpy(), rtol=1e-5)


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


SLOPES = {
    "LinearRegressionOutput": [-1.0, 3.0],
    "LogisticRegressionOutput": [_logistic(1.0) - 2.0, _logistic(4.0) - 1.0],
    "MAERegressionOutput": [-1.0, 1.0],
}


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", SLOPES)
def test_a_label_that_depends_on_the_argument(op: str, dtype: str, hybridized: bool) -> None:
    block = mx.gluon.nn.HybridLambda(op)
    if hybridized:
        block.hybridize()

    def f(x: Any) -> Any:
        return block(x[:, 0:1], x[:, 1:2]).sum()

    x = array([[1.0, 2.0], [4.0, 1.0]], dtype)
    one, other = SLOPES[op]
    for _ in range(5):
        _fill_memory([x, x[:, 0:1]])
        got = ug.grad(f)(x).asnumpy()
        np.testing.assert_allclose(got, [[one, 0.0], [other, 0.0]], rtol=1e-5)
        assert not ug.grad(lambda y: block(x, y).sum())(x).asnumpy().any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ["SVMOutput", "SoftmaxOutput", "softmax_cross_entropy"])
def test_the_gradient_by_a_label_is_zero(op: str, dtype: str) -> None:
    x = array([[3.0, 1.0, 0.5], [2.0, 4.0, 1.0]], dtype)
    labels = array([1.0, 0.0], dtype)
    operator = vars(mx.nd)[op]
    alone = ug.grad(lambda x: operator(x, labels).sum())(x).asnumpy()
    for _ in range(5):
        _fill_memory([x, labels])
        assert not ug.grad(lambda y: operator(x, y).sum())(labels).asnumpy().any()
        both = ug.grad(lambda x, y: operator(x, y).sum(), argnums=(0, 1))(x, labels)
        np.testing.assert_allclose(both[0].asnumpy(), alone, rtol=1e-6, atol=1e-7)
        assert not both[1].asnumpy().any()


def test_at_a_tie_the_slope_of_the_absolute_error_is_that_of_mxnet() -> None:
    x, labels = array([1.0, 2.0]), array([1.0, 5.0])

    def f(x: Any) -> Any:
        return mx.nd.MAERegressionOutput(x, labels).sum()

    _, exact, _ = ug.value_grad_and_hvp(f, x, x)
    np.testing.assert_array_equal(ug.grad(f)(x).asnumpy(), [-1.0, -1.0])
    np.testing.assert_array_equal(exact.asnumpy(), [-1.0, -1.0])


@pytest.mark.parametrize("ascending", [True, False])
def test_sort_along_the_last_axis_by_default(ascending: bool) -> None:
    x = array([[3.0, 1.0], [2.0, 4.0]])
    weights = array([1.0, 10.0])

    def f(x: Any) -> Any:
        return (mx.nd.broadcast_mul(mx.nd.sort(x, is_ascend=ascending) ** 2, weights)).sum()

    first = np.array([[60.0, 2.0], [4.0, 80.0]] if ascending else [[6.0, 20.0], [40.0, 8.0]])
    np.testing.assert_array_equal(ug.grad(f)(x).asnumpy(), first)
    np.testing.assert_array_equal(ug.hvp(f, x, x).asnumpy(), first)
