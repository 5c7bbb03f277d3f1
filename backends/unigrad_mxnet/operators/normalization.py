"""Normalizations: batch, layer, group, instance, L2 and local response.

The second and third output, where they are visible, are what MXNet gives there: a mean, and
(an inverse of) a standard deviation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad_mxnet.operators.activations import relu
from unigrad_mxnet.operators.elementwise import single
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


_BATCH_EPS = float(np.float32(1e-3))
"""Given ones are kept in float64, but this is the default."""


def _centred(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """``x`` minus its mean, that mean, and the variance."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return centred, mean, np.mean(centred * centred, axis=axes, keepdims=True)


def _along(x: Any, ndim: int, axis: int) -> Any:
    """A vector along one axis."""
    return x.reshape(-1, *(1,) * (ndim - axis - 1))


# ------------------------------------------------------------------------- batch


def _batch_norm(xs: list[Any], attrs: Attributes, training: bool, axis: int) -> list[Any]:
    x, gamma, beta, running_mean, running_var = xs
    axis %= x.ndim
    eps = attrs.real("eps", _BATCH_EPS)
    if training and not attrs.flag("use_global_stats"):
        axes = tuple(i for i in range(x.ndim) if i != axis)
        centred, mean, var = _centred(x, axes)
    else:
        mean, var = _along(running_mean, x.ndim, axis), _along(running_var, x.ndim, axis)
        centred = x - mean
    inverse = 1 / np.sqrt(var + eps)
    scale = inverse if attrs.flag("fix_gamma", True) else inverse * _along(gamma, x.ndim, axis)
    y = centred * scale + _along(beta, x.ndim, axis)
    if attrs.flag("output_mean_var"):
        return [y, mean.reshape(-1), inverse.reshape(-1)]
    return [y]


@operator("BatchNorm", "_npx_batch_norm", "BatchNorm_v1")
def _mx_batch_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _batch_norm(xs, attrs, training, attrs.integer("axis", 1))


@operator("_contrib_SyncBatchNorm")
def _sync_batch_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _batch_norm(xs, attrs, training, 1)


@operator("_contrib_BatchNormWithReLU")
def _batch_norm_relu(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    y, *rest = _batch_norm(xs, attrs, training, attrs.integer("axis", 1))
    return [relu(y), *rest]


# ------------------------------------------------------------------------- layer, group, instance


@operator("LayerNorm", "_npx_layer_norm")
def _layer_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, gamma, beta = xs
    axis = attrs.integer("axis", -1) % x.ndim
    centred, mean, var = _centred(x, (axis,))
    std = np.sqrt(var + single(attrs, "eps", 1e-5))
    y = centred / std * _along(gamma, x.ndim, axis) + _along(beta, x.ndim, axis)
    return [y, mean, std] if attrs.flag("output_mean_var") else [y]


@operator("GroupNorm")
def _group_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, gamma, beta = xs
    groups = attrs.integer("num_groups", 1)
    grouped = x.reshape(x.shape[0], groups, -1)
    centred, mean, var = _centred(grouped, (2,))
    std = np.sqrt(var + single(attrs, "eps", 1e-5))
    y = (centred / std * gamma[:, None] + beta[:, None]).reshape(x.shape)
    return [y, mean[:, :, 0], std[:, :, 0]] if attrs.flag("output_mean_var") else [y]


@operator("InstanceNorm")
def _instance_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, gamma, beta = xs
    centred, _, var = _centred(x, tuple(range(2, x.ndim)))
    scale = _along(gamma, x.ndim, 1) / np.sqrt(var + single(attrs, "eps", 1e-3))
    return [centred * scale + _along(beta, x.ndim, 1)]


# ------------------------------------------------------------------------- lengths


@operator("L2Normalization")
def _l2_normalization(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    mode = attrs.text("mode", "instance")
    first, last = {"instance": (1, x.ndim), "channel": (1, 2), "spatial": (2, x.ndim)}[str(mode)]
    axes = tuple(range(first, last))
    return [x / np.sqrt(np.sum(x * x, axis=axes, keepdims=True) + single(attrs, "eps", 1e-10))]


@operator("LRN")
def _local_response(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    n = attrs.integer("nsize")
    margin = [(0, 0), (n // 2, n // 2), *[(0, 0)] * (x.ndim - 2)]
    squares = np.pad(x * x, margin)
    channels = x.shape[1]
    total = squares[:, :channels]
    for k in range(1, n):
        total = total + squares[:, k : k + channels]
    norm = single(attrs, "knorm", 2.0) + single(attrs, "alpha", 1e-4) / n * total
    return [x * norm ** -single(attrs, "beta", 0.75)]
