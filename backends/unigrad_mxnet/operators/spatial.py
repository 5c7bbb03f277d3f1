"""Sampling of images at places that are computed: BilinearSampler, SpatialTransformer.

Which four pixels surround a place is a constant; how much of each is taken depends on the place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


def _pixels(coordinate: Any, n: int) -> Any:
    """From -1 .. 1 to 0 .. n - 1."""
    return (coordinate + 1) * ((n - 1) / 2)


def _sampled(image: Any, grid: Any) -> Any:
    """``(N, C, H, W)`` at the places ``(N, 2, *out)``, x before y; zero outside."""
    batch, channels, height, width = image.shape
    flat = image.reshape(batch, channels, height * width)
    x = _pixels(grid[:, 0].reshape(batch, 1, -1), width)
    y = _pixels(grid[:, 1].reshape(batch, 1, -1), height)
    left, top = np.floor(stop_gradient(x)), np.floor(stop_gradient(y))
    total: Any = 0
    for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = np.where(inside, row * width + column, 0).astype(int)
            place = np.broadcast_to(place, (batch, channels, place.shape[2]))
            total = total + np.take_along_axis(flat, place, axis=2) * (across * down * inside)
    return total.reshape(batch, channels, *grid.shape[2:])


def _raster(height: int, width: int, dtype: Any) -> tuple[Any, Any]:
    """x and y of every pixel, from -1 to 1."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=dtype),
        np.linspace(-1, 1, width, dtype=dtype),
        indexing="ij",
    )
    return x, y


def _affine(theta: Any, size: tuple[int, int]) -> Any:
    """The places ``(N, 2, H, W)`` to which ``(N, 6)`` maps a raster."""
    x, y = _raster(*size, theta.dtype)
    places = np.stack([x.ravel(), y.ravel(), np.ones_like(x.ravel())])
    return np.matmul(theta.reshape(-1, 2, 3), places).reshape(-1, 2, *size)


@operator("BilinearSampler")
def _bilinear_sampler(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_sampled(*xs)]


@operator("GridGenerator")
def _grid_generator(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    (x,) = xs
    kind = attrs.text("transform_type")
    if kind == "affine":
        return [_affine(x, attrs.shape("target_shape"))]
    if kind != "warp":
        raise HigherOrderError(
            f"GridGenerator with transform_type={kind!r} has no translation; it is 'affine' or "
            f"'warp'"
        )
    height, width = x.shape[2:]
    raster = np.stack(_raster(height, width, x.dtype))
    half = np.array([(width - 1) / 2, (height - 1) / 2], x.dtype).reshape(2, 1, 1)
    return [x / half + raster]


@operator("SpatialTransformer")
def _spatial_transformer(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    image, theta = xs
    return [_sampled(image, _affine(theta, attrs.shape("target_shape")))]
