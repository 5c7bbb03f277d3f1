"""The architectures in MXNet Gluon; attention, which it lacks, of its dense layers."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import nn, rnn

from conformance_tests.models.reference import (
    CLASSES,
    ENTRIES,
    EPSILON,
    FEATURES,
    HEADS,
    MOMENTUM,
    UNITS,
    WIDTH,
)

__all__ = ["array", "build", "snapshot"]


class _Recurrent(mx.gluon.HybridBlock):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.recurrent = layer(UNITS, layout="NTC", input_size=FEATURES)
        self.last = nn.Dense(CLASSES, in_units=UNITS)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        after = F.slice_axis(self.recurrent(x), axis=1, begin=-1, end=None)
        return self.last(F.reshape(after, (-1, UNITS)))


class _Attention(mx.gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(ENTRIES, WIDTH)
        self.query = nn.Dense(WIDTH, flatten=False, in_units=WIDTH, prefix="query_")
        self.key = nn.Dense(WIDTH, flatten=False, in_units=WIDTH, prefix="key_")
        self.value = nn.Dense(WIDTH, flatten=False, in_units=WIDTH, prefix="value_")
        self.out = nn.Dense(WIDTH, flatten=False, in_units=WIDTH, prefix="out_")
        self.norm = nn.LayerNorm(epsilon=EPSILON, in_channels=WIDTH)
        self.last = nn.Dense(CLASSES, in_units=WIDTH)

    def hybrid_forward(self, F: Any, tokens: Any) -> Any:
        def parted(y: Any) -> Any:
            y = F.transpose(F.reshape(y, (0, 0, HEADS, -1)), (0, 2, 1, 3))
            return F.reshape(y, (-3, 0, 0))

        x = self.embed(tokens)
        q, k, v = parted(self.query(x)), parted(self.key(x)), parted(self.value(x))
        scores = F.batch_dot(q, k, transpose_b=True) * (WIDTH / HEADS) ** -0.5
        mixed = F.reshape(F.batch_dot(F.softmax(scores), v), (-4, -1, HEADS, 0, 0))
        mixed = F.reshape(F.transpose(mixed, (0, 2, 1, 3)), (0, 0, -3))
        return self.last(F.mean(self.norm(x + self.out(mixed)), axis=1))


def _sequential(*layers: Any) -> Any:
    net = nn.HybridSequential()
    net.add(*layers)
    return net


def _batch_norm(channels: int) -> Any:
    return nn.BatchNorm(epsilon=EPSILON, momentum=1 - MOMENTUM, in_channels=channels)


def _block(architecture: str) -> Any:
    match architecture:
        case "mlp":
            return _sequential(
                nn.Dense(6, activation="tanh", in_units=5),
                nn.Dense(4, activation="sigmoid", in_units=6),
                nn.Dense(CLASSES, in_units=4),
            )
        case "cnn_flat":
            return _sequential(
                *(nn.Conv2D(4, 3, in_channels=2), _batch_norm(4), nn.Activation("tanh")),
                *(nn.MaxPool2D(2), nn.Flatten(), nn.Dense(CLASSES, in_units=24)),
            )
        case "cnn_global":
            return _sequential(
                *(nn.Conv2D(3, 3, padding=1, in_channels=2), _batch_norm(3)),
                *(nn.Activation("sigmoid"), nn.AvgPool2D(2)),
                *(nn.Conv2D(5, (2, 3), in_channels=3), _batch_norm(5), nn.Activation("tanh")),
                *(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(CLASSES, in_units=5)),
            )
        case "lstm":
            return _Recurrent(rnn.LSTM)
        case "gru":
            return _Recurrent(rnn.GRU)
        case "attention":
            return _Attention()
    raise KeyError(architecture)


def build(architecture: str, dtype: str) -> Any:
    """The block, initialised and hybridized."""
    net = _block(architecture)
    net.initialize()
    net.cast(dtype)
    net.hybridize()
    return net


def array(x: np.ndarray[Any, Any]) -> Any:
    """An ``mx.nd`` array of these values."""
    return mx.nd.array(x, dtype=str(x.dtype))


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that no call may change."""
    found = model.collect_params()
    return {
        "values": {k: p.data().asnumpy().tobytes() for k, p in found.items()},
        "identity": {k: id(p.data()) for k, p in found.items()},
        "grad": {
            k: None if p.grad_req == "null" else p.grad().asnumpy().tobytes()
            for k, p in found.items()
        },
        "grad_req": {k: p.grad_req for k, p in found.items()},
        "recording": (mx.autograd.is_recording(), mx.autograd.is_training()),
    }
