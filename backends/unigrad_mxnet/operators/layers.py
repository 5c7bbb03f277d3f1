"""FullyConnected, Dropout, and the attention products of GluonNLP."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


@operator("FullyConnected", "_npx_fully_connected", "_sparse_FullyConnected")
def _fully_connected(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, w, *bias = xs
    if attrs.flag("flatten", True) and x.ndim != 2:
        x = x.reshape(x.shape[0], -1)
    y = np.matmul(x, w.T)
    return [y + bias[0] if bias and not attrs.flag("no_bias") else y]


@operator("Dropout", "_npx_dropout")
def _dropout(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """With the mask, which MXNet gives as a hidden output, as a second input."""
    x, *mask = xs
    active = training or attrs.text("mode", "training") == "always"
    if not active or attrs.real("p", 0.5) == 0:
        return [x]
    if not mask:
        raise HigherOrderError(
            "Dropout was met without its mask, so that its value cannot be computed again; "
            "call the network inside the function that is differentiated"
        )
    return [x * mask[0]]


# ------------------------------------------------------------------------- attention


def _interleaved(x: Any, heads: int, parts: int) -> list[Any]:
    """``(length, batch, heads * parts * width)`` as parts ``(batch * heads, length, width)``."""
    length, batch, channels = x.shape
    width = channels // heads // parts
    split = x.reshape(length, batch * heads, parts, width)
    return [np.swapaxes(split[:, :, i], 0, 1) for i in range(parts)]


def _joined(y: Any, heads: int) -> Any:
    """``(batch * heads, length, width)`` as ``(length, batch, heads * width)``."""
    rows, length, width = y.shape
    return np.swapaxes(y, 0, 1).reshape(length, rows // heads, heads * width)


def _scores(query: Any, key: Any) -> Any:
    return np.matmul(query * (1 / math.sqrt(query.shape[-1])), np.swapaxes(key, 1, 2))


@operator("_contrib_interleaved_matmul_selfatt_qk")
def _selfatt_qk(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    query, key, _ = _interleaved(xs[0], attrs.integer("heads"), 3)
    return [_scores(query, key)]


@operator("_contrib_interleaved_matmul_selfatt_valatt")
def _selfatt_valatt(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    heads = attrs.integer("heads")
    *_, value = _interleaved(xs[0], heads, 3)
    return [_joined(np.matmul(xs[1], value), heads)]


@operator("_contrib_interleaved_matmul_encdec_qk")
def _encdec_qk(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    heads = attrs.integer("heads")
    (query,) = _interleaved(xs[0], heads, 1)
    key, _ = _interleaved(xs[1], heads, 2)
    return [_scores(query, key)]


@operator("_contrib_interleaved_matmul_encdec_valatt")
def _encdec_valatt(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    heads = attrs.integer("heads")
    _, value = _interleaved(xs[0], heads, 2)
    return [_joined(np.matmul(xs[1], value), heads)]
