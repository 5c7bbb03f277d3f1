"""Pooling in one to three dimensions, adaptive and global pooling, and resizing.

The maximum of a window is the entry at a place; of equal ones the first, as in MXNet's first
order. The place is a constant, and what is read there is linear, as are sums over windows.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unigrad.engine.core import Rule, primal
from unigrad.engine.primitive import primitive
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.convolution import window_axes
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []

Numbers = tuple[int, ...]


def _offsets(kernel: Numbers, stride: Numbers, lengths: Numbers) -> Iterator[tuple[slice, ...]]:
    """For each place in the window, the entries of ``(N, C, *space)`` that lie there."""
    for place in itertools.product(*map(range, kernel)):
        axes = zip(place, stride, lengths, strict=True)
        yield (
            slice(None),
            slice(None),
            *(slice(k, k + (n - 1) * s + 1, s) for k, s, n in axes),
        )


def _empty(like: Any, lengths: Numbers) -> Any:
    """New memory, whose axes lie in the order of those of ``like``."""
    shape = (*like.shape[:2], *lengths)
    return np.empty_like(like, shape=shape, order="K")


# ------------------------------------------------------------------------- maximum


def _maximum(x: Any, parts: Iterator[tuple[slice, ...]]) -> Any:
    best = x[next(parts)].copy("K")
    for part in parts:
        np.maximum(best, x[part], out=best)
    return best


def _masks_of(x: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, **_: Any) -> Any:
    """For each place in the window, where the first of the largest entries lies there."""
    best = _maximum(x, _offsets(kernel, stride, lengths))
    order = sorted(range(x.ndim), key=lambda i: -best.strides[i])
    masks = np.empty((math.prod(kernel), *(best.shape[i] for i in order)), bool)
    masks = masks.transpose(0, *(1 + order.index(i) for i in range(x.ndim)))
    free = np.ones_like(best, dtype=bool)
    for mask, part in zip(masks, _offsets(kernel, stride, lengths), strict=True):
        np.equal(x[part], best, out=mask)
        mask &= free
        free ^= mask
    return masks


def _read(x: Any, masks: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, **_: Any) -> Any:
    # Trap: numpy.where and numpy.copyto are ten times slower than the product with a mask.
    parts = zip(masks, _offsets(kernel, stride, lengths), strict=True)
    mask, part = next(parts)
    out = x[part] * mask
    for mask, part in parts:
        out += x[part] * mask
    return out


def _written(
    g: Any, masks: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, size: Numbers
) -> Any:
    out = _empty(g, size)
    apart = all(k <= s for k, s in zip(kernel, stride, strict=True))
    if not apart or math.prod(kernel) * math.prod(lengths) < math.prod(size):
        out[...] = 0
    for mask, part in zip(masks, _offsets(kernel, stride, lengths), strict=True):
        if apart:
            np.multiply(g, mask, out=out[part])
        else:
            out[part] += g * mask
    return out


def _largest_value(
    x: Any, masks: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, **_: Any
) -> Any:
    return _maximum(x, _offsets(kernel, stride, lengths))


_masks: Any = primitive(Rule("the places of maxima", [None]), _masks_of)
_largest: Any = primitive(
    Rule(
        "the maximum of Pooling",
        [lambda g, ans, x, masks, **options: _spread(g, masks, **options), None],
    ),
    _largest_value,
)
_entries: Any = primitive(
    Rule(
        "the tangent of Pooling",
        [lambda g, ans, x, masks, **options: _spread(g, masks, **options), None],
        multilinear=True,
    ),
    _read,
)
_spread: Any = primitive(
    Rule(
        "the gradient of Pooling",
        [lambda h, ans, g, masks, **options: _entries(h, masks, **options), None],
        multilinear=True,
    ),
    _written,
)

# ------------------------------------------------------------------------- sum


def _summed(x: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, **_: Any) -> Any:
    parts = _offsets(kernel, stride, lengths)
    out = x[next(parts)].copy("K")
    for part in parts:
        out += x[part]
    return out


def _repeated(g: Any, kernel: Numbers, stride: Numbers, lengths: Numbers, size: Numbers) -> Any:
    out = _empty(g, size)
    out[...] = 0
    for part in _offsets(kernel, stride, lengths):
        out[part] += g
    return out


_sums: Any = primitive(
    Rule("the sum of Pooling", [lambda g, ans, x, **options: _repeats(g, **options)], linear=True),
    _summed,
)
_repeats: Any = primitive(
    Rule(
        "the gradient of Pooling", [lambda h, ans, g, **options: _sums(h, **options)], linear=True
    ),
    _repeated,
)

# ------------------------------------------------------------------------- Pooling


class _Windows:
    """The windows of a call: where they are, and what of them lies on the image."""

    def __init__(self, space: Numbers, attrs: Attributes) -> None:
        ndim = len(space)
        everything = attrs.flag("global_pool")
        self.space = space
        self.kernel = space if everything else window_axes(attrs, "kernel", ndim, 1)
        self.stride = (1,) * ndim if everything else window_axes(attrs, "stride", ndim, 1)
        self.pad = (0,) * ndim if everything else window_axes(attrs, "pad", ndim, 0)
        convention = attrs.text("pooling_convention", "valid")
        axes = list(zip(space, self.kernel, self.stride, self.pad, strict=True))
        if convention == "same":
            self.lengths = tuple(-(-(n + 2 * p) // s) for n, _, s, p in axes)
        elif convention == "full":
            self.lengths = tuple(-(-(n + 2 * p - k) // s) + 1 for n, k, s, p in axes)
        else:
            self.lengths = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        reach = [
            (m - 1) * s + k for m, k, s in zip(self.lengths, self.kernel, self.stride, strict=True)
        ]
        self.margins = [
            (p, max(0, r - n - p)) for r, n, p in zip(reach, space, self.pad, strict=True)
        ]
        self.size = tuple(n + a + b for n, (a, b) in zip(space, self.margins, strict=True))

    @property
    def options(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "stride": self.stride,
            "lengths": self.lengths,
            "size": self.size,
        }

    def padded(self, x: Any, value: float) -> Any:
        if not any(a or b for a, b in self.margins):
            return x
        return np.pad(x, [(0, 0), (0, 0), *self.margins], constant_values=value)

    def sums(self, x: Any) -> Any:
        if self.size == self.kernel:
            return np.sum(x, axis=tuple(range(2, x.ndim)), keepdims=True)
        return _sums(x, **self.options)

    def counts(self, with_margin: bool, dtype: Any) -> Any:
        """How many entries each window has: on the image, or with ``pad`` zeros around it too."""
        total: Any = np.ones((), dtype)
        axes = zip(self.space, self.kernel, self.stride, self.pad, self.lengths, strict=True)
        for n, k, s, p, m in axes:
            first = np.arange(m) * s - p
            last = np.minimum(first + k, n + p)
            if not with_margin:
                first, last = np.maximum(first, 0), np.minimum(last, n)
            total = total[..., None] * (last - first).astype(dtype)
        return total


def _root(s: Any, p: int) -> Any:
    """``s ** (1 / p)``, with derivative 0 at 0."""
    if p == 1:
        return s
    safe = np.where(s == 0, 1, s)
    return np.where(s == 0, 0, np.sqrt(safe) if p == 2 else np.cbrt(safe)).astype(s.dtype)


def _pooled(x: Any, attrs: Attributes) -> Any:
    windows = _Windows(x.shape[2:], attrs)
    kind = attrs.text("pool_type", "max")
    if kind == "max":
        x = windows.padded(x, float(np.finfo(x.dtype).min))
        return _largest(x, _masks(primal(x), **windows.options), **windows.options)
    x = windows.padded(x, 0)
    if kind == "sum":
        return windows.sums(x)
    if kind == "lp":
        p = attrs.integer("p_value")
        return _root(windows.sums(x**p), p)
    counts = windows.counts(attrs.flag("count_include_pad", True), x.dtype)
    return windows.sums(x) / (counts.flat[0] if np.ptp(counts) == 0 else counts)


@operator("Pooling", "_npx_pooling", "Pooling_v1")
def _mx_pooling(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    (x,) = xs
    if (attrs.text("layout") or "NC").startswith("NC"):
        return [_pooled(x, attrs)]
    return [np.moveaxis(_pooled(np.moveaxis(x, -1, 1), attrs), 1, -1)]


# ------------------------------------------------------------------------- linear maps of space


def _along(x: Any, matrices: list[Any]) -> Any:
    """A matrix applied along each spatial axis."""
    for axis, matrix in enumerate(matrices, 2):
        x = np.moveaxis(np.tensordot(x, matrix.astype(x.dtype), (axis, 1)), -1, axis)
    return x


@functools.lru_cache(64)
def _bins(n: int, m: int) -> Any:
    """The ``(m, n)`` matrix of means over bins, from ``floor(i n/m)`` to ``ceil((i + 1) n/m)``."""
    out = np.zeros((m, n))
    for i in range(m):
        first, last = i * n // m, -(-(i + 1) * n // m)
        out[i, first:last] = 1 / (last - first)
    return out


@operator("_contrib_AdaptiveAvgPooling2D")
def _adaptive(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    (x,) = xs
    size = window_axes(attrs, "output_size", 2, 1)
    return [_along(x, [_bins(n, m) for n, m in zip(x.shape[2:], size, strict=True)])]


def _interpolation(n: int, m: int, aligned: bool) -> Any:
    """The ``(m, n)`` matrix of linear interpolation, from corner to corner or from cell to cell."""
    out = np.zeros((m, n))
    for i in range(m):
        if aligned:
            at = i * (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            at = max((i + 0.5) * n / m - 0.5, 0.0)
        low = min(int(at), n - 1)
        out[i, low] += 1 - (at - low)
        out[i, min(low + 1, n - 1)] += at - low
    return out


def _like_size(shape: Numbers, attrs: Attributes, other: Any) -> list[int]:
    scales = attrs.real("scale_height"), attrs.real("scale_width")
    mode = attrs.text("mode", "size")
    if mode == "like" and other is not None:
        return list(other.shape[2:])
    if mode != "size":
        raise HigherOrderError(
            f"_contrib_BilinearResize2D with mode={mode!r} has no translation; "
            f"type: mode='size', with height= and width="
        )
    if None not in scales:
        return [int(n * s) for n, s in zip(shape, scales, strict=True)]
    return [attrs.integer("height", 1), attrs.integer("width", 1)]


@operator("_contrib_BilinearResize2D")
def _resized(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, *other = xs
    size = _like_size(x.shape[2:], attrs, other[0] if other else None)
    aligned = attrs.flag("align_corners", True)
    pairs = zip(x.shape[2:], size, strict=True)
    return [_along(x, [_interpolation(n, m, aligned) for n, m in pairs])]


@operator("UpSampling")
def _upsampled(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    kind = attrs.text("sample_type")
    if kind != "nearest":
        raise HigherOrderError(
            f"UpSampling with sample_type={kind!r} has no translation; type: "
            f"mx.nd.Deconvolution, which it is"
        )
    scale = attrs.integer("scale")
    lengths = [n * scale for n in xs[0].shape[2:]]
    grown = [_repeated_to(x, lengths) for x in xs]
    if attrs.text("multi_input_mode", "concat") == "sum":
        total: Callable[[Any, Any], Any] = np.add
        return [functools.reduce(total, grown)]
    return [grown[0] if len(grown) == 1 else np.concatenate(grown, axis=1)]


def _repeated_to(x: Any, lengths: list[int]) -> Any:
    for axis, n in enumerate(lengths, 2):
        x = np.repeat(x, n // x.shape[axis], axis=axis)
    return x
