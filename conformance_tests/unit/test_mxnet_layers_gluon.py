"""The curvature of Gluon layers, against differences of MXNet's own gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx
import numpy as np

from unigrad_mxnet.arrays import constant

nn, rnn = mx.gluon.nn, mx.gluon.rnn


def _sequence(*blocks: Any) -> Any:
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


_VECTOR, _IMAGE, _STEPS = (3, 5), (2, 3, 6, 6), (4, 2, 3)

LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    **{
        f"Dense, {act}": (lambda act=act: _sequence(nn.Dense(4, activation=act)), _VECTOR)
        for act in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    },
    "Dense, flatten=False": (lambda: _sequence(nn.Dense(4, flatten=False)), _STEPS),
    "ELU": (lambda: _sequence(nn.Dense(4), nn.ELU()), _VECTOR),
    "Swish": (lambda: _sequence(nn.Dense(4), nn.Swish()), _VECTOR),
    "Conv1D": (lambda: _sequence(nn.Conv1D(4, 3, strides=2, padding=1)), (2, 3, 7)),
    "Conv2D": (lambda: _sequence(nn.Conv2D(4, 3, activation="tanh")), _IMAGE),
    "Conv2D, groups": (lambda: _sequence(nn.Conv2D(6, 3, groups=3, dilation=2)), _IMAGE),
    "Conv3D": (lambda: _sequence(nn.Conv3D(2, 2)), (2, 2, 3, 4, 3)),
    "Conv2DTranspose": (lambda: _sequence(nn.Conv2DTranspose(4, 3, strides=2)), _IMAGE),
    "MaxPool2D": (lambda: _sequence(nn.Conv2D(4, 3), nn.MaxPool2D(3, 2)), _IMAGE),
    "MaxPool2D, ceil": (
        lambda: _sequence(nn.Conv2D(4, 2), nn.MaxPool2D(2, 2, ceil_mode=True)),
        _IMAGE,
    ),
    "AvgPool2D": (
        lambda: _sequence(nn.AvgPool2D(3, 2, 1, count_include_pad=False), nn.Dense(2)),
        _IMAGE,
    ),
    "GlobalMaxPool2D": (lambda: _sequence(nn.GlobalMaxPool2D(), nn.Dense(2)), _IMAGE),
    "GlobalAvgPool2D": (lambda: _sequence(nn.GlobalAvgPool2D(), nn.Dense(2)), _IMAGE),
    "BatchNorm": (lambda: _sequence(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(2)), _IMAGE),
    "BatchNorm, scale=False": (lambda: _sequence(nn.BatchNorm(scale=False)), _IMAGE),
    "LayerNorm": (lambda: _sequence(nn.Dense(4), nn.LayerNorm()), _VECTOR),
    "GroupNorm": (lambda: _sequence(nn.Conv2D(4, 3), nn.GroupNorm(2)), _IMAGE),
    "LSTM": (lambda: rnn.LSTM(4), _STEPS),
    "GRU, bidirectional": (lambda: rnn.GRU(3, bidirectional=True), _STEPS),
    # Not two layers: MXNet's own gradient of the weights is wrong then, in float64.
    "RNN": (lambda: rnn.RNN(3, activation="tanh"), _STEPS),
}


def _nd(x: Any) -> Any:
    return constant(np.asarray(x, dtype="float64")).as_nd_ndarray()


def _net(name: str, hybridized: bool) -> tuple[Any, Any]:
    """The block, with weights from the name alone, and its input."""
    make, shape = LAYERS[name]
    rng = np.random.default_rng(len(name))
    net = make()
    net.initialize()
    net.cast("float64")
    x = _nd(rng.normal(size=shape))
    net(x)
    for p in net.collect_params().values():
        kind = p.name.rpartition("_")[2]
        values = rng.normal(size=p.shape) * 0.5
        p.set_data(_nd(1 + values**2 if kind in ("gamma", "var") else values))
    net.hybridize(hybridized)
    return net, x


def _native(net: Any, x: Any, weights: Any, training: bool) -> Any:
    """MXNet's gradient with respect to the parameters, moved by ``h`` times ``v``."""
    params = {k: p for k, p in net.collect_params().items() if p.grad_req != "null"}
    start = {k: p.data().asnumpy() for k, p in params.items()}

    def gradient(v: dict[str, Any], h: float) -> dict[str, Any]:
        for k, p in params.items():
            p.set_data(_nd(start[k] + h * v[k]))
        with mx.autograd.record(train_mode=training):
            y = net(x)
            loss = (y * y * weights).sum()
        loss.backward(train_mode=training)
        found = {k: p.grad().asnumpy() for k, p in params.items()}
        for k, p in params.items():
            p.set_data(_nd(start[k]))
        return found

    return gradient


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_curvature(name: str, training: bool, hybridized: bool) -> None:
    net, x = _net(name, hybridized)
    weights = _nd(np.cos(np.arange(net(x).size)).reshape(net(x).shape))
    apply, params = ug.functional(net, mode=None)
    rng = np.random.default_rng(1)
    along = {k: rng.normal(size=p.shape) for k, p in sorted(params.items())}

    def loss(params: Any) -> Any:
        y = apply(params, x)
        return (y * y * weights).sum()

    with mx.autograd.train_mode() if training else mx.autograd.predict_mode():
        got = ug.hvp(loss, params, {k: _nd(v) for k, v in along.items()})
    gradient = _native(net, x, weights, training)
    h = 1e-5
    moved = {k: along.get(k, 0.0) for k in net.collect_params()}
    up, down = gradient(moved, h), gradient(moved, -h)
    for k, g in got.items():
        wanted = (up[k] - down[k]) / (2 * h)
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(g.asnumpy(), wanted, rtol=1e-5, atol=1e-7 * scale)
