"""Convolution and pooling of small images, against sums written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS", "convolved"]


def _padded(x: Any, pad: int) -> Any:
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))


def convolved(x: Any, w: Any, stride: int = 1, pad: int = 0) -> Any:
    """Cross-correlation, entry by entry of the kernel."""
    x = _padded(x, pad)
    kh, kw = w.shape[2:]
    h, k = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    total = 0
    for i in range(kh):
        for j in range(kw):
            patch = x[:, :, i : i + stride * h : stride, j : j + stride * k : stride]
            total = total + np.einsum("nchw,oc->nohw", patch, w[:, :, i, j])
    return total


def _pulled(u: Any, x: Any, w: Any, stride: int, pad: int) -> tuple[Any, Any]:
    wide = _padded(x, pad)
    gx, gw = np.zeros_like(wide), np.zeros_like(w)
    h, k = u.shape[2:]
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            at = (
                slice(None),
                slice(None),
                slice(i, i + stride * h, stride),
                slice(j, j + stride * k, stride),
            )
            gx[at] += np.einsum("nohw,oc->nchw", u, w[:, :, i, j])
            gw[:, :, i, j] = np.einsum("nohw,nchw->oc", u, wide[at])
    inside = slice(pad, pad + x.shape[2]), slice(pad, pad + x.shape[3])
    return gx[:, :, inside[0], inside[1]], gw


def _convolution(name: str, stride: int, pad: int, tags: frozenset[str]) -> Scenario:
    def second(u: Any, v: Any, x: Any, w: Any) -> Any:
        # Bilinear: the derivative is the map itself with one argument replaced.
        by_x = _pulled(u, v[0], w, stride, pad)
        by_w = _pulled(u, x, v[1], stride, pad)
        return by_w[0], by_x[1]

    return Scenario(
        name,
        "images",
        lambda xp, x, w: ops.conv2d(x, w, stride=stride, padding=pad),
        (draw(81, 2, 2, 4, 5), draw(82, 3, 2, 2, 3)),
        output="array",
        value=lambda x, w: convolved(x, w, stride, pad),
        gradient=lambda u, x, w: _pulled(u, x, w, stride, pad),
        hvp=second,
        tags=tags,
    )


_IMAGE = draw(83, 1, 2, 4, 4)


def _windows(x: Any) -> Any:
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // 2, 2, w // 2, 2)
    return split.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def _from_windows(parts: Any) -> Any:
    n, c, h, w, _ = parts.shape
    split = parts.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    return split.reshape(n, c, 2 * h, 2 * w)


def _chosen(u: Any, x: Any, y: Any) -> Any:
    """``u y`` at the largest entry of each window of ``x``."""
    parts = _windows(x)
    hit = np.eye(4)[np.argmax(parts, axis=-1)]
    return _from_windows(u[..., None] * hit * _windows(y))


def _overlapping(x: Any) -> Any:
    """Sum of the cubes of the largest entries of overlapping windows; the border never wins."""
    total = 0
    for i in range(4):
        for j in range(4):
            window = x[0, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].reshape(2, -1)
            best = np.argmax(np.real(window), axis=1)
            total = total + np.sum(window[[0, 1], best] ** 3)
    return total


SCENARIOS: tuple[Scenario, ...] = (
    _convolution("conv2d", 1, 0, frozenset({"core"})),
    _convolution("conv2d with stride and padding", 2, 1, frozenset()),
    Scenario(
        "max_pool2d",
        "images",
        lambda xp, x: ops.max_pool2d(x, 2) ** 2,
        (_IMAGE,),
        output="array",
        value=lambda x: np.max(_windows(x), axis=-1) ** 2,
        gradient=lambda u, x: 2 * _chosen(u, x, x),
        hvp=lambda u, v, x: 2 * _chosen(u, x, v),
    ),
    Scenario(
        "max_pool2d, overlapping",
        "images",
        lambda xp, x: xp.sum(ops.max_pool2d(x, 3, stride=1, padding=1) ** 3),
        (_IMAGE,),
        value=_overlapping,
        oracle="complex step",
        step=2e-5,
    ),
    Scenario(
        "avg_pool2d",
        "images",
        lambda xp, x: ops.avg_pool2d(x, 2) ** 2,
        (_IMAGE,),
        output="array",
        value=lambda x: np.mean(_windows(x), axis=-1) ** 2,
        gradient=lambda u, x: _from_windows(
            np.repeat((2 * u * np.mean(_windows(x), axis=-1) / 4)[..., None], 4, axis=-1)
        ),
        hvp=lambda u, v, x: _from_windows(
            np.repeat((2 * u * np.mean(_windows(v), axis=-1) / 4)[..., None], 4, axis=-1)
        ),
    ),
)
