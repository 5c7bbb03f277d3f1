"""MXNet's sliding windows laid out as columns, and its cuts of images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


class _Windows:
    """Windows over the spatial axes of ``(N, C, *spatial)``, padded."""

    def __init__(self, attrs: Attributes, spatial: tuple[int, ...]) -> None:
        self.kernel = attrs.shape("kernel")
        ones = (1,) * len(self.kernel)
        self.stride = attrs.shape("stride") or ones
        self.dilate = attrs.shape("dilate") or ones
        self.pad = attrs.shape("pad") or (0,) * len(self.kernel)
        self.padded = tuple(n + 2 * p for n, p in zip(spatial, self.pad, strict=True))
        self.counts = tuple(
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(self.padded, self.kernel, self.stride, self.dilate, strict=True)
        )

    def slices(self) -> Iterator[tuple[Any, ...]]:
        """For each entry of the kernel, where the windows have it."""
        for entry in itertools.product(*(range(k) for k in self.kernel)):
            yield (
                ...,
                *(
                    slice(i * d, i * d + s * (n - 1) + 1, s)
                    for i, d, s, n in zip(entry, self.dilate, self.stride, self.counts, strict=True)
                ),
            )


@operator("im2col")
def _im2col(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    windows = _Windows(attrs, x.shape[2:])
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in windows.pad)])
    columns = np.stack([x[where] for where in windows.slices()], axis=2)
    return [columns.reshape((x.shape[0], -1, math.prod(windows.counts)))]


@operator("col2im")
def _col2im(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The transpose of ``im2col``: what windows share is added up."""
    x, size = xs[0], attrs.shape("output_size")
    windows = _Windows(attrs, size)
    count = math.prod(windows.kernel)
    parts = x.reshape((x.shape[0], -1, count, *windows.counts))
    out: Any = np.zeros_like(x, shape=(*parts.shape[:2], *windows.padded))
    for k, where in enumerate(windows.slices()):
        out[where] = out[where] + parts[:, :, k]
    inner = tuple(slice(p, p + n) for p, n in zip(windows.pad, size, strict=True))
    return [out[(..., *inner)]]


@operator("Crop")
def _crop(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    height, width = xs[1].shape[2:] if len(xs) > 1 else attrs.shape("h_w")
    top, left = attrs.shape("offset", (0, 0))
    if attrs.flag("center_crop"):
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return [x[:, :, top : top + height, left : left + width]]
