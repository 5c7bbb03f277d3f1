"""Operators of images, height before width before channels, and of boxes in them."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


def _flip(name: str, axis: int) -> None:
    @operator(name)
    def flip(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        if xs[0].shape[axis] % 2:
            raise HigherOrderError(
                f"{name} of {xs[0].shape[axis]} lines, an odd number, was asked for, and MXNet "
                f"leaves the middle one unwritten; type: mx.nd.flip(x, axis={xs[0].ndim + axis})"
            )
        return [np.flip(xs[0], axis)]


_flip("_image_flip_left_right", -2)
_flip("_image_flip_top_bottom", -3)


@operator("_image_crop")
def _crop(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    left, top = attrs.integer("x"), attrs.integer("y")
    width, height = attrs.integer("width"), attrs.integer("height")
    return [xs[0][..., top : top + height, left : left + width, :]]


@operator("_image_to_tensor")
def _to_tensor(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """Channels first, in float32, from 0 .. 255 to 0 .. 1."""
    x = xs[0].astype(np.float32)
    return [np.moveaxis(x, -1, -3) / np.float32(255)]


@operator("_image_normalize")
def _normalize(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """Each channel, here the first of three axes, less its mean over its deviation."""
    x = xs[0]
    mean, deviation = (_per_channel(attrs, name, x, k) for k, name in enumerate(("mean", "std")))
    return [(x - mean) / deviation]


def _per_channel(attrs: Attributes, name: str, x: Any, default: float) -> Any:
    """Numbers that MXNet keeps in float32; one stands for all channels."""
    found = ast.literal_eval(attrs.get(name, str(default)))
    values = np.asarray(found, np.float32).reshape(-1)[: x.shape[-3]]
    return values.astype(x.dtype)[:, None, None]


@operator("_contrib_box_iou")
def _box_iou(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The area that each pair of boxes shares, over that of both; 0 of two without area."""
    center = attrs.text("format", "corner") == "center"
    x, y = xs
    low, high = _ends(x.reshape((*x.shape[:-1], *[1] * (y.ndim - 1), 4)), center)
    other_low, other_high = _ends(y, center)
    sides = np.minimum(high, other_high) - np.maximum(low, other_low)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    shared = np.prod(np.where(sides > 0, sides, zero), axis=-1)
    union = _area(low, high) + _area(other_low, other_high) - shared
    empty = union <= 0
    return [np.where(empty, zero, shared / np.where(empty, one, union))]


def _ends(x: Any, center: bool) -> tuple[Any, Any]:
    if center:
        return x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2
    return x[..., :2], x[..., 2:]


def _area(low: Any, high: Any) -> Any:
    return np.prod(np.maximum(high - low, low.dtype.type(0)), axis=-1)


@operator("cast_storage")
def _cast_storage(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The same numbers, dense or not."""
    return [xs[0]]
