"""The fused RNN with dropout between its layers, in float64: layer by layer.

MXNet keeps the mask to itself, and where it records in float64 it drops in predict mode too. As
layers with ``Dropout`` between them the same network has masks that can be seen, of other draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["drops", "layer_by_layer"]

Call = Callable[..., Any]
"""``call(name, arrays, **attributes)``: the outputs of an operator."""

_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}


def drops(name: str, attributes: Mapping[str, str], arrays: Sequence[Any]) -> bool:
    """Whether this call is of an RNN to be taken apart."""
    return (
        name == "RNN"
        and np.dtype(arrays[0].dtype) == np.float64
        and float(attributes.get("p", "0")) > 0
        and int(attributes["num_layers"]) > 1
        and attributes.get("projection_size", "None") == "None"
        and attributes.get("use_sequence_length", "False") in ("False", "0")
    )


def layer_by_layer(call: Call, attributes: Mapping[str, str], arrays: Sequence[Any]) -> list[Any]:
    """The outputs of the RNN."""
    x, parameters, *states = arrays
    layers, size = int(attributes["num_layers"]), int(attributes["state_size"])
    directions = 2 if attributes.get("bidirectional", "False") in ("True", "1") else 1
    rows = directions * _GATES[attributes["mode"]] * size
    widths = [x.shape[2]] + [size * directions] * (layers - 1)
    ends = np.cumsum([0, *[rows * (width + size) for width in widths], *[2 * rows] * layers])
    each = {**attributes, "num_layers": 1, "p": 0.0, "state_outputs": True}

    def cut(x: Any, begin: int, end: int) -> Any:
        return call("slice_axis", [x], axis=0, begin=begin, end=end)[0]

    def joined(parts: list[Any]) -> Any:
        return call("Concat", parts, dim=0, num_args=len(parts))[0]

    found: list[list[Any]] = []
    for i in range(layers):
        if i:
            (x,) = call("Dropout", [x], p=attributes["p"])
        pieces = [cut(parameters, int(ends[k]), int(ends[k + 1])) for k in (i, layers + i)]
        own = [cut(s, i * directions, (i + 1) * directions) for s in states]
        x, *last = call("RNN", [x, joined(pieces), *own], **each)
        found.append(last)
    if attributes.get("state_outputs", "False") not in ("True", "1"):
        return [x]
    return [x, *[joined(list(kind)) for kind in zip(*found, strict=True)]]
