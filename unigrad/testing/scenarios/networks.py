"""Small networks as people train them; references are written again, in complex NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw
from unigrad.testing.scenarios.images import convolved

__all__ = ["SCENARIOS"]

_LABELS = np.array([0, 2, 1, 2])
_X = draw(91, 4, 3)
_MLP = {
    "first": {"w": draw(92, 3, 4), "b": draw(93, 4)},
    "last": {"w": draw(94, 4, 3), "b": draw(95, 3)},
}
_CNN = {"kernel": draw(96, 2, 1, 3, 3), "dense": (draw(97, 8, 3), draw(98, 3))}
_IMAGES = draw(99, 4, 1, 6, 6)
_MAXOUT = {"w": draw(100, 3, 6), "out": draw(101, 3)}


def _log_likelihood(z: Any, labels: Any) -> Any:
    shifted = z - np.max(np.real(z), axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


def _rectified(x: Any) -> Any:
    return x * (np.real(x) > 0)


def _mlp(xp: Any, params: Any, x: Any, labels: Any) -> Any:
    hidden = xp.tanh(x @ params["first"]["w"] + params["first"]["b"])
    return ops.cross_entropy(hidden @ params["last"]["w"] + params["last"]["b"], labels)


def _mlp_value(params: Any, x: Any, labels: Any) -> Any:
    hidden = np.tanh(x @ params["first"]["w"] + params["first"]["b"])
    return _log_likelihood(hidden @ params["last"]["w"] + params["last"]["b"], labels)


def _relu_mlp(xp: Any, params: Any, x: Any, labels: Any) -> Any:
    hidden = ops.relu(x @ params["first"]["w"] + params["first"]["b"])
    z = hidden @ params["last"]["w"] + params["last"]["b"]
    return xp.mean(xp.sum(z**2, axis=1)) + ops.cross_entropy(z, labels)


def _relu_mlp_value(params: Any, x: Any, labels: Any) -> Any:
    hidden = _rectified(x @ params["first"]["w"] + params["first"]["b"])
    z = hidden @ params["last"]["w"] + params["last"]["b"]
    return np.mean(np.sum(z**2, axis=1)) + _log_likelihood(z, labels)


def _cnn(xp: Any, params: Any, x: Any, labels: Any) -> Any:
    hidden = ops.max_pool2d(ops.relu(ops.conv2d(x, params["kernel"])), 2)
    w, b = params["dense"]
    return ops.cross_entropy(xp.reshape(hidden, (4, 8)) @ w + b, labels)


def _cnn_value(params: Any, x: Any, labels: Any) -> Any:
    hidden = _rectified(convolved(x, params["kernel"]))
    n, c, h, w = hidden.shape
    split = hidden.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    parts = split.reshape(n, c, h // 2, w // 2, 4)
    best = np.argmax(np.real(parts), axis=-1)[..., None]
    pooled = np.take_along_axis(parts, best, axis=-1).reshape(n, -1)
    weight, bias = params["dense"]
    return _log_likelihood(pooled @ weight + bias, labels)


def _maxout(xp: Any, params: Any, x: Any) -> Any:
    return xp.sum(xp.tanh(xp.matmul(ops.maxout(x @ params["w"], 2), params["out"])))


def _maxout_value(params: Any, x: Any) -> Any:
    z = (x @ params["w"]).reshape(len(x), 3, 2)
    best = np.argmax(np.real(z), axis=-1)[..., None]
    return np.sum(np.tanh(np.take_along_axis(z, best, axis=-1)[..., 0] @ params["out"]))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "MLP classification loss",
        "networks",
        _mlp,
        (_MLP,),
        (_X, _LABELS),
        value=_mlp_value,
        oracle="complex step",
        tags=frozenset({"core", "third"}),
    ),
    Scenario(
        "ReLU MLP",
        "networks",
        _relu_mlp,
        (_MLP,),
        (_X, _LABELS),
        value=_relu_mlp_value,
        oracle="complex step",
        step=2e-5,
    ),
    Scenario(
        "CNN classification loss",
        "networks",
        _cnn,
        (_CNN,),
        (_IMAGES, _LABELS),
        value=_cnn_value,
        oracle="complex step",
        step=2e-5,
    ),
    Scenario(
        "maxout network",
        "networks",
        _maxout,
        (_MAXOUT,),
        (_X,),
        value=_maxout_value,
        oracle="complex step",
        step=2e-5,
    ),
    Scenario(
        "gated activations",
        "networks",
        lambda xp, w, x: xp.mean(ops.silu(x @ w) * ops.sigmoid(x @ w) + ops.softplus(x @ w)),
        (draw(102, 3, 2),),
        (_X,),
        value=lambda w, x: np.mean(
            (x @ w) / (1 + np.exp(-(x @ w))) ** 2 + np.log(1 + np.exp(x @ w))
        ),
        oracle="complex step",
    ),
    Scenario(
        "layer normalisation",
        "networks",
        lambda xp, x, scale, shift: xp.sum(
            xp.tanh(
                scale
                * (x - xp.mean(x, axis=1, keepdims=True))
                / xp.sqrt(xp.var(x, axis=1, keepdims=True) + 1e-3)
                + shift
            )
        ),
        (_X, draw(103, 3), draw(104, 3)),
        value=lambda x, scale, shift: np.sum(
            np.tanh(
                scale
                * (x - np.mean(x, axis=1, keepdims=True))
                / np.sqrt(
                    np.mean((x - np.mean(x, axis=1, keepdims=True)) ** 2, axis=1, keepdims=True)
                    + 1e-3
                )
                + shift
            )
        ),
        oracle="complex step",
    ),
)
