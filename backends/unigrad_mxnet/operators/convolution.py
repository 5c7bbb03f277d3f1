"""Convolution and Deconvolution, in one to three dimensions.

Three bilinear maps, the convolution and its transposes in the data and in the weight, are closed
under differentiation, so that any order follows. They run on images laid out (C, *space, N): the
windows are then copied in long runs, into a buffer that fits the cache, and multiplied by BLAS.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators import table
from unigrad_mxnet.operators.table import Attributes

__all__ = ["window_axes"]

_BLOCK = 1 << 21
"""Windows are copied in blocks of about so many bytes."""
_FEW = 16


class _Windows:
    """Where the windows lie: blocks of rows of the output, and the offsets in a window."""

    def __init__(
        self,
        lengths: tuple[int, ...],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        dilate: tuple[int, ...],
    ) -> None:
        self.lengths = lengths
        self.kernel = kernel
        self.stride = stride
        self.dilate = dilate
        self.trivial = math.prod(kernel) == 1 and set(stride) == {1}

    def blocks(self, bytes_per_row: int) -> Iterator[slice]:
        """Slices of the output's first spatial axis."""
        rows = max(1, _BLOCK // max(bytes_per_row, 1))
        for start in range(0, self.lengths[0], rows):
            yield slice(start, min(start + rows, self.lengths[0]))

    def offsets(self, rows: slice) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """For each place in the window: its index in the windows, and in the padded image."""
        for place in itertools.product(*map(range, self.kernel)):
            index: list[slice] = [slice(None)]
            for i, (k, s, d) in enumerate(zip(place, self.stride, self.dilate, strict=True)):
                first, last = (rows.start, rows.stop) if i == 0 else (0, self.lengths[i])
                start = k * d + first * s
                index.append(slice(start, start + (last - first - 1) * s + 1, s))
            yield (slice(None), *place), tuple(index)


def _turned(x: Any, pad: tuple[int, ...]) -> Any:
    """``(N, C, *space)`` as ``(C, *space, N)`` in memory, with zeros around."""
    x = x.transpose(*range(1, x.ndim), 0)
    if not any(pad):
        return np.ascontiguousarray(x)
    lengths = [n + 2 * p for n, p in zip(x.shape[1:-1], pad, strict=True)]
    out = np.zeros((x.shape[0], *lengths, x.shape[-1]), x.dtype)
    out[_inner(x.shape[1:-1], pad)] = x
    return out


def _inner(lengths: Any, pad: tuple[int, ...]) -> tuple[slice, ...]:
    return (slice(None), *(slice(p, p + n) for n, p in zip(lengths, pad, strict=True)))


def _back(x: Any) -> Any:
    """``(C, *space, N)`` seen as ``(N, C, *space)``."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))


def _copied(image: Any, windows: _Windows, rows: slice, group: int) -> Any:
    """The windows of some rows, as matrices ``(group, C / group * kernel, places)``."""
    if windows.trivial:
        part = image[:, rows]
    else:
        shape = (rows.stop - rows.start, *windows.lengths[1:], image.shape[-1])
        part = np.empty((image.shape[0], *windows.kernel, *shape), image.dtype)
        for place, index in windows.offsets(rows):
            part[place] = image[index]
    count = image.shape[0] // group * math.prod(windows.kernel)
    return part.reshape(group, count, -1)


def _matrices(x: Any, group: int) -> Any:
    """Filters, or some rows of an image, by group."""
    return x.reshape(group, x.shape[0] // group, -1)


def _bytes(image: Any, kernel: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    places = image.shape[0] * math.prod(kernel) * math.prod(lengths[1:]) * image.shape[-1]
    return int(places * image.itemsize)


def _by_sample(x: Any, stride: tuple[int, ...]) -> Iterator[int] | None:
    """The samples, where runs of ``N`` entries would be too short: few samples, and strides."""
    return iter(range(len(x))) if 1 < len(x) < _FEW and max(stride) > 1 else None


def _convolved(x: Any, w: Any, stride: Any, dilate: Any, pad: Any, group: int, **_: Any) -> Any:
    if few := _by_sample(x, stride):
        options = {"stride": stride, "dilate": dilate, "pad": pad, "group": group}
        return np.concatenate([_convolved(x[i : i + 1], w, **options) for i in few])
    image = _turned(x, pad)
    kernel = w.shape[2:]
    lengths = tuple(
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(image.shape[1:-1], kernel, stride, dilate, strict=True)
    )
    windows = _Windows(lengths, kernel, stride, dilate)
    filters = _matrices(w, group)
    out = np.empty((w.shape[0], *lengths, image.shape[-1]), image.dtype)
    for rows in windows.blocks(_bytes(image, kernel, lengths)):
        place = _matrices(out[:, rows], group)  # a view: only the first axis is cut
        np.matmul(filters, _copied(image, windows, rows, group), out=place)
    return _back(out)


def _to_data(
    g: Any, w: Any, stride: Any, dilate: Any, pad: Any, group: int, size: Any, **_: Any
) -> Any:
    if few := _by_sample(g, stride):
        options = {"stride": stride, "dilate": dilate, "pad": pad, "group": group, "size": size}
        return np.concatenate([_to_data(g[i : i + 1], w, **options) for i in few])
    image = _turned(g, (0,) * len(pad))
    kernel, lengths = w.shape[2:], image.shape[1:-1]
    windows = _Windows(lengths, kernel, stride, dilate)
    filters = _matrices(w, group).swapaxes(1, 2)
    channels = w.shape[1] * group
    spread = tuple(n + 2 * p for n, p in zip(size, pad, strict=True))
    out = np.zeros((channels, *spread, image.shape[-1]), image.dtype)
    for rows in windows.blocks(_bytes(out, kernel, lengths)):
        parts = filters @ _matrices(image[:, rows], group)
        parts = parts.reshape(channels, *kernel, rows.stop - rows.start, *lengths[1:], -1)
        for place, index in windows.offsets(rows):
            out[index] += parts[place]
    return _back(out[_inner(size, pad)])


def _added(parts: Iterable[Any]) -> Any:
    return functools.reduce(operator.iadd, parts)


def _to_weight(
    x: Any, g: Any, stride: Any, dilate: Any, pad: Any, group: int, kernel: Any, **_: Any
) -> Any:
    if few := _by_sample(x, stride):
        options = {"stride": stride, "dilate": dilate, "pad": pad, "group": group, "kernel": kernel}
        return _added(_to_weight(x[i : i + 1], g[i : i + 1], **options) for i in few)
    image, ahead = _turned(x, pad), _turned(g, (0,) * len(pad))
    lengths = ahead.shape[1:-1]
    windows = _Windows(lengths, kernel, stride, dilate)
    blocks = windows.blocks(_bytes(image, kernel, lengths))
    total = _added(
        _matrices(ahead[:, rows], group) @ _copied(image, windows, rows, group).swapaxes(1, 2)
        for rows in blocks
    )
    return total.reshape(ahead.shape[0], image.shape[0] // group, *kernel)


_convolution: Any = primitive(
    Rule(
        "Convolution",
        [
            lambda g, ans, x, w, **options: _data_gradient(g, w, **options),
            lambda g, ans, x, w, **options: _weight_gradient(x, g, **options),
        ],
        multilinear=True,
    ),
    _convolved,
)
_data_gradient: Any = primitive(
    Rule(
        "Convolution's gradient with respect to the data",
        [
            lambda h, ans, g, w, **options: _convolution(h, w, **options),
            lambda h, ans, g, w, **options: _weight_gradient(h, g, **options),
        ],
        multilinear=True,
    ),
    _to_data,
)
_weight_gradient: Any = primitive(
    Rule(
        "Convolution's gradient with respect to the weight",
        [
            lambda h, ans, x, g, **options: _data_gradient(g, h, **options),
            lambda h, ans, x, g, **options: _convolution(x, h, **options),
        ],
        multilinear=True,
    ),
    _to_weight,
)


def window_axes(attrs: Attributes, name: str, ndim: int, default: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    found: tuple[int, ...] = attrs.shape(name, ()) or (default,) * ndim
    return found if len(found) == ndim else found * ndim


def _options(attrs: Attributes, ndim: int) -> dict[str, Any]:
    layout = attrs.text("layout")
    if layout not in (None, "NCW", "NCHW", "NCDHW"):
        raise HigherOrderError(
            f"a convolution with layout={layout!r} has no translation; its layouts are NCW, NCHW "
            f"and NCDHW: transpose the data, or leave layout out"
        )
    return {
        "stride": window_axes(attrs, "stride", ndim, 1),
        "dilate": window_axes(attrs, "dilate", ndim, 1),
        "pad": window_axes(attrs, "pad", ndim, 0),
        "group": attrs.integer("num_group", 1),
    }


def _biased(y: Any, b: Any) -> Any:
    return y + b.reshape(-1, *(1,) * (y.ndim - 2))


@table.operator("Convolution", "_npx_convolution", "Convolution_v1")
def _mx_convolution(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, w, *bias = xs
    options = _options(attrs, x.ndim - 2)
    y = _convolution(x, w, size=x.shape[2:], kernel=w.shape[2:], **options)
    return [_biased(y, bias[0]) if bias and not attrs.flag("no_bias") else y]


@table.operator("Deconvolution", "_npx_deconvolution")
def _mx_deconvolution(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, w, *bias = xs
    ndim = x.ndim - 2
    options = _options(attrs, ndim)
    kernel = w.shape[2:]
    reach = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(
            x.shape[2:], kernel, options["stride"], options["dilate"], strict=True
        )
    ]
    target = attrs.shape("target_shape", ())
    if target and any(target):
        size = window_axes(attrs, "target_shape", ndim, 0)
        options["pad"] = tuple((r - n + 1) // 2 for r, n in zip(reach, size, strict=True))
    else:
        adjust = window_axes(attrs, "adj", ndim, 0)
        size = tuple(r - 2 * p + a for r, p, a in zip(reach, options["pad"], adjust, strict=True))
    y = _data_gradient(x, w, size=size, kernel=kernel, **options)
    return [_biased(y, bias[0]) if bias and not attrs.flag("no_bias", True) else y]
