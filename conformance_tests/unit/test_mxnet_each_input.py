"""First order on MXNet, each input differentiated alone: MXNet's own against the engine's.

MXNet's kernels give other numbers, or memory that nobody wrote, when only some of their inputs
are differentiated. `unigrad` must then take the engine's derivative. Memory is filled with nan and
huge numbers beforehand, so that what is not written shows.
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
            for which in [*[[i] for i in prepared.active], prepared.active]:
                if which:
                    with mode(), semantics(*prepared.arrays):
                        _check(row, dtype, prepared, which)


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")
def test_the_weights_and_the_bias_of_a_hybridized_net() -> None:
    """A compiled block is taken as it is only where all of MXNet's own derivative is right."""
    net = mx.gluon.nn.Dense(3, in_units=4)
    net.initialize()
    net.hybridize()
    apply, params = ug.functional(net)
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
