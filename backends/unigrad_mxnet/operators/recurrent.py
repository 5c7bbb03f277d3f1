"""The fused RNN: layers of lstm, gru, rnn_relu or rnn_tanh, in one or both directions.

Its parameters lie in one vector: the weights of every layer and direction, from the input, from
the state, and to the projection if there is one; and then their biases in the same order. What
MXNet has with cuDNN only, and in float32 on the CPU ignores in silence, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.activations import relu
from unigrad_mxnet.operators.table import OPERATORS, Attributes, operator

__all__: list[str] = []

_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}

Cell = Callable[[Any, Any, list[Any]], list[Any]]
"""``cell(from_input, from_state, states) -> states``, of the gates' pre-activations."""


def _sigmoid(x: Any) -> Any:
    return OPERATORS["sigmoid"]([x], Attributes({}), False)[0]


def _lstm(a: Any, b: Any, states: list[Any]) -> list[Any]:
    n = a.shape[-1] // 4
    z = a + b
    gates = _sigmoid(z)
    new = np.tanh(z[:, 2 * n : 3 * n])
    c = gates[:, n : 2 * n] * states[1] + gates[:, :n] * new
    return [gates[:, 3 * n :] * np.tanh(c), c]


def _gru(a: Any, b: Any, states: list[Any]) -> list[Any]:
    n = a.shape[-1] // 3
    gates = _sigmoid(a[:, : 2 * n] + b[:, : 2 * n])
    reset, update = gates[:, :n], gates[:, n:]
    new = np.tanh(a[:, 2 * n :] + reset * b[:, 2 * n :])
    return [new + update * (states[0] - new)]


_CELLS: dict[str, Cell] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": lambda a, b, states: [np.tanh(a + b)],
    "rnn_relu": lambda a, b, states: [relu(a + b)],
}


def _refuse(attrs: Attributes, drops: bool) -> None:
    name, instead = "", ""
    if attrs.flag("use_sequence_length"):
        name, instead = "use_sequence_length", "mx.nd.SequenceMask on its output"
    elif attrs.real("lstm_state_clip_min") is not None:
        name, instead = "lstm_state_clip_min", "an unrolled mx.gluon.rnn.LSTMCell, with mx.nd.clip"
    elif drops and attrs.integer("num_layers") > 1 and attrs.real("p", 0.0) > 0:
        name, instead = "p", "p=0, or several RNN layers with mx.nd.Dropout between them"
    if name:
        raise HigherOrderError(
            f"RNN with {name}={attrs.text(name)} has no translation; type: {instead}"
        )


class _Vector:
    """The vector of parameters, read from its beginning."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.place = 0

    def take(self, *shape: int) -> Any:
        first = self.place
        self.place += int(np.prod(shape))
        return self.values[first : self.place].reshape(shape)


@operator("RNN", "_npx_rnn")
def _rnn(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, parameters, *starts = xs
    mode = str(attrs.text("mode"))
    size, layers = attrs.integer("state_size"), attrs.integer("num_layers")
    directions = 2 if attrs.flag("bidirectional") else 1
    # Trap: recorded in float64, MXNet drops states in predict mode too; in float32 it never does.
    projected = attrs.integer("projection_size")
    _refuse(attrs, x.dtype == np.float64 and (training or projected is None))
    cell, rows, given = _CELLS[mode], _GATES[mode] * size, projected or size
    states = starts[: 2 if mode == "lstm" else 1]

    vector = _Vector(parameters)
    widths = [x.shape[2]] + [given * directions] * (layers - 1)
    places = [(layer, side) for layer in range(layers) for side in range(directions)]
    weights = []
    for i, _ in places:
        weights.append([vector.take(rows, widths[i]), vector.take(rows, given)])
        if projected is not None:
            weights[-1].append(vector.take(given, size))
    biases = [(vector.take(rows), vector.take(rows)) for _ in places]

    ends: list[list[Any]] = []
    for layer in range(layers):
        outputs = []
        for side in range(directions):
            k = layer * directions + side
            begin = [np.broadcast_to(s[k], (x.shape[1], s.shape[2])) for s in states]
            steps, end = _run(x, weights[k], biases[k], begin, cell, backwards=side == 1)
            outputs.append(steps)
            ends.append(end)
        x = outputs[0] if directions == 1 else np.concatenate(outputs, axis=2)
    if not attrs.flag("state_outputs"):
        return [x]
    return [x, *(np.stack(kind) for kind in zip(*ends, strict=True))]


def _run(
    x: Any,
    weights: list[Any],
    biases: tuple[Any, Any],
    states: list[Any],
    cell: Cell,
    backwards: bool,
) -> tuple[Any, list[Any]]:
    """One layer in one direction: the outputs of all steps, and the states at the end."""
    from_input = np.matmul(x, weights[0].T) + biases[0]
    back, *projection = (w.T for w in weights[1:])
    outputs = []
    order = range(x.shape[0] - 1, -1, -1) if backwards else range(x.shape[0])
    for t in order:
        states = cell(from_input[t], np.matmul(states[0], back) + biases[1], states)
        if projection:
            states = [np.matmul(states[0], projection[0]), *states[1:]]
        outputs.append(states[0])
    return np.stack(outputs[::-1] if backwards else outputs), states


@operator("_rnn_param_concat", "_npi_rnn_param_concat")
def _param_concat(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.concatenate(xs, axis=attrs.integer("dim", 1))]
