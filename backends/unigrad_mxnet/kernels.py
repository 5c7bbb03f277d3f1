"""Kernels of MXNet's own for functions of `unigrad.ops`."""

from __future__ import annotations

from typing import Any

from unigrad_mxnet.arrays import as_class
from unigrad_mxnet.framework import mx

__all__ = ["conv2d"]


def conv2d(
    x: Any, w: Any, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)
) -> Any:
    """Two-dimensional cross-correlation of NCHW images with OIHW filters."""
    y = mx.nd.Convolution(
        x.as_nd_ndarray(),
        w.as_nd_ndarray(),
        kernel=tuple(w.shape[2:]),
        num_filter=w.shape[0],
        stride=tuple(stride),
        pad=tuple(padding),
        no_bias=True,
    )
    return as_class(y, x)
