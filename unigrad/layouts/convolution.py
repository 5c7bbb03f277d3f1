"""Convolutions over 1, 2 or 3 axes, and their transposes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from unigrad.layouts.layer import Layer, Part
from unigrad.layouts.parts import Turn, inverse, moved, one, stated

__all__ = [
    "conv",
    "conv_transpose",
]


def conv(
    path: str,
    *,
    weight: str,
    bias: str | None = None,
    order: str = "OIHW",
    groups: int | None = None,
    multiplier: int | None = None,
    unit_axes: int = 0,
    channels_last: bool | None = None,
) -> Layer:
    """Cross-correlation over 1, 2 or 3 axes; canonical weight (out, in/groups, *window).

    Args:
        order: the weight's axes: O, I and one letter for each of the window's: ``"WIO"``,
            ``"HWIO"``, ``"OHWI"``, ``"OIDHW"``.
        groups: where the framework says so.
        multiplier: of a depthwise weight whose axis I is the input's channels and whose axis O
            is that many outputs of each (Keras' DepthwiseConv).
        unit_axes: axes of length 1 that follow the bias's own (Equinox).
    """
    if multiplier is None:
        weights = moved("weight", weight, _window_axes(order, "OI"))
    else:
        axes = _window_axes(order, "IO")
        weights = one("weight", weight, *_joined(axes, multiplier))
    parts = (*weights, *_column("bias", bias, unit_axes))
    return Layer("conv", path, parts, stated({"groups": groups}), channels_last)


def conv_transpose(
    path: str,
    *,
    weight: str,
    bias: str | None = None,
    order: str = "IOHW",
    groups: int = 1,
    flipped: bool = False,
    divided: Literal["O", "I"] = "O",
    unit_axes: int = 0,
    channels_last: bool | None = None,
) -> Layer:
    """The transpose of a cross-correlation; canonical weight (in, out/groups, *window).

    Args:
        order: the weight's axes, as for `conv`: ``"HWOI"`` (Keras), ``"HWIO"`` (Flax).
        flipped: the window lies the other way round: the framework computes a cross-correlation
            with it (Flax without ``transpose_kernel``, Equinox).
        divided: which of the weight's axes is shorter by ``groups``.
        unit_axes: axes of length 1 that follow the bias's own (Equinox).
    """
    axes = _window_axes(order, "IO")
    back = inverse(axes)
    window = tuple(range(2, len(axes)))

    def turned(x: Any) -> Any:
        return np.flip(x, window) if flipped else x

    def regrouped(x: Any) -> Any:
        if groups == 1 or divided == "O":
            return x
        rest = x.shape[2:]
        apart = x.reshape((x.shape[0], groups, -1, *rest))
        return np.moveaxis(apart, 1, 0).reshape((x.shape[0] * groups, -1, *rest))

    def parted(x: Any) -> Any:
        if groups == 1 or divided == "O":
            return x
        rest = x.shape[2:]
        apart = x.reshape((groups, x.shape[0] // groups, -1, *rest))
        return np.moveaxis(apart, 0, 1).reshape((x.shape[0] // groups, -1, *rest))

    weights = one(
        "weight",
        weight,
        lambda x: regrouped(turned(np.transpose(x, axes))),
        lambda x: np.transpose(turned(parted(x)), back),
    )
    parts = (*weights, *_column("bias", bias, unit_axes))
    return Layer("conv_transpose", path, parts, {"groups": groups}, channels_last)


def _window_axes(order: str, first: str) -> tuple[int, ...]:
    """The permutation that brings the axes ``first`` to the front, and the window's after."""
    window = [i for i, axis in enumerate(order) if axis not in "OI"]
    return (*(order.index(axis) for axis in first), *window)


def _joined(axes: tuple[int, ...], multiplier: int) -> tuple[Turn, Turn]:
    """A depthwise weight (channels, multiplier, ...) as (channels * multiplier, 1, ...)."""

    def read(x: Any) -> Any:
        x = np.transpose(x, axes)
        return x.reshape((-1, 1, *x.shape[2:]))

    def write(x: Any) -> Any:
        return np.transpose(x.reshape((-1, multiplier, *x.shape[2:])), inverse(axes))

    return read, write


def _column(role: str, name: str | None, units: int) -> list[Part]:
    return one(role, name, lambda b: b.reshape(-1), lambda b: b.reshape((-1, *[1] * units)))
