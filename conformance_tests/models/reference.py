"""The architectures, as plain NumPy on a dict of weights in torch's layout: what all must equal.

The same weights go into every framework's model by ``ug.models.port``, for which each reference
lists its layers. Images are (examples, channels, rows, columns), sequences (examples, times, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import unigrad as ug
from unigrad import layouts
from unigrad.backend import Array
from unigrad.layouts import Layer
from unigrad.models.apply import Apply
from unigrad.stateless import ModelOptions, StatelessModel

__all__ = [
    "ARCHITECTURES",
    "CLASSES",
    "ENTRIES",
    "EPSILON",
    "FEATURES",
    "HEADS",
    "MOMENTUM",
    "UNITS",
    "WIDTH",
    "Architecture",
    "reference",
]

CLASSES = 3
EXAMPLES = 4
EPSILON = 2.0**-10
"""Of every norm; MXNet keeps it in float32, in which this is exact."""
MOMENTUM = 0.1
"""The weight of a batch in BatchNorm's running statistics."""
HEADS = 2
ENTRIES, WIDTH = 7, 8
"""Of the embedding."""
FEATURES, UNITS = 5, 6
"""Of the recurrent layers."""

Weights = Mapping[str, Any]
Forward = Callable[[Weights, Weights, Any, bool], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        shapes: those of the parameters.
        input_shape: of the batch.
        forward: from parameters, state, input and whether it trains to the output and new state.
        layers: the parameters' and states' meaning, for porting.
        running: by the name of each BatchNorm, its channels and over how many entries of the
            batch each of their statistics goes.
        image: whether the input has channels that a framework may want last.
        tokens: whether the input is of integers.
    """

    shapes: Mapping[str, tuple[int, ...]]
    input_shape: tuple[int, ...]
    forward: Forward
    layers: Sequence[Layer]
    running: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    image: bool = False
    tokens: bool = False

    def weights(self, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
        """Random parameters of a network's usual size, or a direction among them."""
        rng = np.random.default_rng(seed)
        return {
            name: rng.normal(size=shape) * (0.7 if len(shape) == 1 else shape[-1] ** -0.5)
            for name, shape in self.shapes.items()
        }

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Running statistics as after some training."""
        rng = np.random.default_rng(7)
        state = {}
        for name, (channels, _) in self.running.items():
            state[f"{name}.running_mean"] = rng.normal(size=channels)
            state[f"{name}.running_var"] = rng.uniform(0.5, 2.0, size=channels)
        return state

    def batch(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The input, and probabilities of the classes."""
        rng = np.random.default_rng(3)
        targets = rng.dirichlet(np.ones(CLASSES), size=self.input_shape[0])
        if self.tokens:
            return rng.integers(0, ENTRIES, size=self.input_shape), targets
        return rng.normal(size=self.input_shape), targets


# ------------------------------------------------------------------ layers


def _dense(p: Weights, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _conv(p: Weights, name: str, x: Any, padding: int = 0) -> Any:
    w = p[f"{name}.weight"]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    total = p[f"{name}.bias"][:, None, None]
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            window = x[:, :, i : i + rows, j : j + columns]
            total = total + np.einsum("nchw,oc->nohw", window, w[:, :, i, j])
    return total


def _batch_norm(
    p: Weights, s: Weights, name: str, x: Any, training: bool
) -> tuple[Any, dict[str, Any]]:
    mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    after = {f"{name}.running_mean": mean, f"{name}.running_var": var}
    if training:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        for key, new in (("running_mean", mean), ("running_var", var)):
            old = after[f"{name}.{key}"]
            after[f"{name}.{key}"] = old + MOMENTUM * (ug.stop_gradient(new) - old)
    scale = p[f"{name}.weight"] / np.sqrt(var + EPSILON)
    shift = p[f"{name}.bias"] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None], after


def _layer_norm(p: Weights, name: str, x: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(var + EPSILON) * p[f"{name}.weight"] + p[f"{name}.bias"]


def _blocks(x: Any) -> Any:
    """Windows of 2 × 2 along the axes 3 and 5."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2)


# ------------------------------------------------------------------ networks


def _mlp(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    hidden = _sigmoid(_dense(p, "second", np.tanh(_dense(p, "first", x))))
    return _dense(p, "last", hidden), {}


def _cnn_flat(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    x, after = _batch_norm(p, s, "norm", _conv(p, "conv", x), training)
    pooled = _blocks(np.tanh(x)).max(axis=(3, 5))
    return _dense(p, "last", pooled.reshape(pooled.shape[0], -1)), after


def _cnn_global(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    x, first = _batch_norm(p, s, "norm", _conv(p, "conv", x, padding=1), training)
    pooled = _blocks(_sigmoid(x)).mean(axis=(3, 5))
    x, second = _batch_norm(p, s, "norm2", _conv(p, "conv2", pooled), training)
    return _dense(p, "last", np.tanh(x).mean(axis=(2, 3))), {**first, **second}


def _gates(p: Weights, name: str, x: Any, hidden: Any, count: int) -> tuple[list[Any], list[Any]]:
    """What the input and the hidden state add to each gate."""
    by_input = x @ p[f"{name}.weight_ih"].T + p[f"{name}.bias_ih"]
    by_hidden = hidden @ p[f"{name}.weight_hh"].T + p[f"{name}.bias_hh"]
    return np.split(by_input, count, axis=1), np.split(by_hidden, count, axis=1)


def _lstm(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    hidden = cell = np.zeros((x.shape[0], UNITS), dtype=x.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = (a + b for a, b in zip(*_gates(p, "lstm", x[:, t], hidden, 4), strict=True))
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
    return _dense(p, "last", hidden), {}


def _gru(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    hidden = np.zeros((x.shape[0], UNITS), dtype=x.dtype)
    for t in range(x.shape[1]):
        (r, z, n), (hr, hz, hn) = _gates(p, "gru", x[:, t], hidden, 3)
        z = _sigmoid(z + hz)
        hidden = z * hidden + (1 - z) * np.tanh(n + _sigmoid(r + hr) * hn)
    return _dense(p, "last", hidden), {}


def _attention(p: Weights, s: Weights, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
    x = p["embed.weight"][x]
    n, times, width = x.shape
    q, k, v = (
        part.reshape(n, times, HEADS, width // HEADS).transpose(0, 2, 1, 3)
        for part in np.split(x @ p["attend.in_weight"].T + p["attend.in_bias"], 3, axis=-1)
    )
    weights = _softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(width / HEADS))
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(n, times, width)
    x = _layer_norm(p, "norm", x + _dense(p, "attend.out", mixed))
    return _dense(p, "last", x.mean(axis=1)), {}


# ------------------------------------------------------------------ their tables


def _dense_layer(name: str) -> Layer:
    return layouts.dense(name, weight=f"{name}.weight", bias=f"{name}.bias")


def _conv_layer(name: str) -> Layer:
    weight, bias = f"{name}.weight", f"{name}.bias"
    return layouts.conv(name, weight=weight, bias=bias, channels_last=False)


def _norm_layer(name: str) -> Layer:
    return layouts.norm(
        "batch_norm",
        name,
        scale=f"{name}.weight",
        offset=f"{name}.bias",
        mean=f"{name}.running_mean",
        var=f"{name}.running_var",
        epsilon=EPSILON,
        channels_last=False,
    )


def _shapes(**sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Weight and bias of each layer, whose first size is that of the bias."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in sizes.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]
    return found


def _recurrent(name: str, gates: int) -> dict[str, tuple[int, ...]]:
    rows = gates * UNITS
    shapes = ((rows, FEATURES), (rows, UNITS), (rows,), (rows,))
    return dict(zip(_named(name).values(), shapes, strict=True))


def _named(name: str) -> dict[str, str]:
    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {role: f"{name}.{role}" for role in roles}


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(
        _shapes(first=(6, 5), second=(4, 6), last=(CLASSES, 4)),
        (EXAMPLES, 5),
        _mlp,
        [_dense_layer("first"), _dense_layer("second"), _dense_layer("last")],
    ),
    "cnn_flat": Architecture(
        _shapes(conv=(4, 2, 3, 3), norm=(4,), last=(CLASSES, 4 * 2 * 3)),
        (EXAMPLES, 2, 6, 8),
        _cnn_flat,
        [_conv_layer("conv"), _norm_layer("norm"), _dense_layer("last")],
        running={"norm": (4, EXAMPLES * 24)},
        image=True,
    ),
    "cnn_global": Architecture(
        _shapes(conv=(3, 2, 3, 3), norm=(3,), conv2=(5, 3, 2, 3), norm2=(5,), last=(CLASSES, 5)),
        (EXAMPLES, 2, 6, 8),
        _cnn_global,
        [
            *(_conv_layer("conv"), _norm_layer("norm")),
            *(_conv_layer("conv2"), _norm_layer("norm2")),
            _dense_layer("last"),
        ],
        running={"norm": (3, EXAMPLES * 48), "norm2": (5, EXAMPLES * 4)},
        image=True,
    ),
    "lstm": Architecture(
        {**_recurrent("lstm", 4), **_shapes(last=(CLASSES, UNITS))},
        (EXAMPLES, 4, FEATURES),
        _lstm,
        [layouts.lstm("lstm", **_named("lstm")), _dense_layer("last")],
    ),
    "gru": Architecture(
        {**_recurrent("gru", 3), **_shapes(last=(CLASSES, UNITS))},
        (EXAMPLES, 4, FEATURES),
        _gru,
        [layouts.gru("gru", **_named("gru")), _dense_layer("last")],
    ),
    "attention": Architecture(
        {
            "embed.weight": (ENTRIES, WIDTH),
            "attend.in_weight": (3 * WIDTH, WIDTH),
            "attend.in_bias": (3 * WIDTH,),
            **_shapes(**{"attend.out": (WIDTH, WIDTH), "norm": (WIDTH,), "last": (CLASSES, WIDTH)}),
        },
        (EXAMPLES, 5),
        _attention,
        [
            layouts.embedding("embed", weight="embed.weight"),
            layouts.attention(
                "attend",
                heads=HEADS,
                packed="attend.in_weight",
                packed_bias="attend.in_bias",
                out="attend.out.weight",
                out_bias="attend.out.bias",
            ),
            layouts.norm(
                "layer_norm", "norm", scale="norm.weight", offset="norm.bias", epsilon=EPSILON
            ),
            _dense_layer("last"),
        ],
        tokens=True,
    ),
}


# ------------------------------------------------------------------ as a model


class Reference(StatelessModel):
    """An architecture in NumPy, with its weights, as an adapter would take it apart."""

    def __init__(self, architecture: str, dtype: str, training: bool) -> None:
        self.name = architecture
        self._net = ARCHITECTURES[architecture]
        self._params = {k: x.astype(dtype) for k, x in self._net.weights().items()}
        self._state = {k: x.astype(dtype) for k, x in self._net.state().items()}
        self._training = training

    def params(self) -> dict[str, Array]:
        return dict(self._params)

    def state(self) -> dict[str, Array]:
        return dict(self._state)

    def call(
        self,
        params: Mapping[str, Array],
        state: Mapping[str, Array] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Array]]:
        (x,) = inputs
        given = self._state if state is None else state
        return self._net.forward(params, given, x, self._training)

    def assign(self, values: Mapping[str, Array]) -> None:
        for name, x in values.items():
            ({**self._params, **self._state}[name])[...] = x

    def layers(self) -> list[Layer]:
        return list(self._net.layers)


def reference(architecture: str, dtype: str = "float64", *, training: bool = False) -> Apply:
    """The architecture as ``ug.functional(..., state="return")`` would give it."""
    model = Reference(architecture, dtype, training)
    options = ModelOptions(mode="train" if training else "eval")
    return Apply(model, ug.get_backend("numpy"), options, model.params(), returns_state=True)
