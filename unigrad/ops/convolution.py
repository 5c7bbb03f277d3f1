"""Convolution and pooling of images in one layout, NCHW with kernels OIHW, on every backend.

An adapter may offer a native ``conv2d`` in ``Backend.ops``; the composed one is slices and a
tensor product, which every backend differentiates at every order.
"""

from __future__ import annotations

from typing import Any

from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, ShapeError
from unigrad.ops.extrema import extremum
from unigrad.ops.operands import operands

__all__ = ["avg_pool2d", "conv2d", "max_pool2d"]

Pair = tuple[int, int]


def conv2d(x: Any, w: Any, *, stride: int | Pair = 1, padding: int | Pair = 0) -> Array:
    """Cross-correlation ``y[n,o,i,j] = Σ_{c,k,l} x[n, c, sh·i+k-ph, sw·j+l-pw] w[o,c,k,l]``.

    Args:
        x: images ``(N, C, H, W)``.
        w: kernels ``(O, C, kH, kW)``.
        stride: ``(sh, sw)``, or one int for both.
        padding: zeros added on either side, ``(ph, pw)``, or one int for both.

    Returns:
        ``(N, O, (H + 2 ph - kH) // sh + 1, (W + 2 pw - kW) // sw + 1)``.

    Raises:
        ShapeError: for other numbers of axes, channels that differ, a kernel larger than the
            padded image.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))))
    [[[[4. 4.]
       [4. 4.]]]]
    """
    strides, pads = _pair("stride", stride, 1), _pair("padding", padding, 0)
    with operands(x, w) as (backend, x, w):
        image, kernel = backend.shape(x), backend.shape(w)
        if len(image) != 4 or len(kernel) != 4 or image[1] != kernel[1]:
            raise ShapeError(
                f"conv2d takes images (N, C, H, W) and kernels (O, C, kH, kW) with one C, got "
                f"{image} and {kernel}; type: xp.moveaxis(x, -1, 1) if the channels come last"
            )
        window = (kernel[2], kernel[3])
        _fits("conv2d", image, window, pads)
        native = backend.ops.get("conv2d")
        if native is not None:
            return native(x, w, stride=strides, padding=pads)
        xp = backend.xp
        patches = xp.stack(_slices(xp, _padded(xp, x, pads, 0.0), window, strides), axis=2)
        flat = xp.reshape(w, (kernel[0], kernel[1], window[0] * window[1]))
        return xp.moveaxis(xp.tensordot(patches, flat, axes=((1, 2), (1, 2))), -1, 1)


def max_pool2d(
    x: Any, window: int | Pair, *, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Array:
    """Largest entry of each window of images ``(N, C, H, W)``; the first one at a tie.

    Args:
        window: ``(kh, kw)``, or one int for both.
        stride: by default the window.
        padding: -inf added on either side, at most half the window.

    Returns:
        ``(N, C, (H + 2 ph - kh) // sh + 1, (W + 2 pw - kw) // sw + 1)``.

    The derivative goes to the first largest entry of the window in row-major order.

    Raises:
        ShapeError: for other numbers of axes, or a window larger than the padded image.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2))
    [[[[ 5.  7.]
       [13. 15.]]]]
    """
    with operands(x, real=True) as (backend, x):
        slices = _windows(backend, "max_pool2d", x, window, stride, padding, float("-inf"))
        stacked = backend.xp.stack(slices, axis=0)
        return extremum(backend, backend.xp.max, stacked, 0, False, "first")


def avg_pool2d(
    x: Any, window: int | Pair, *, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Array:
    """Mean of each window of images ``(N, C, H, W)``; arguments and shapes as for `max_pool2d`.

    Padded zeros count as entries: the divisor is always ``kh · kw`` (as PyTorch's default
    ``count_include_pad=True``).

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2))
    [[[[ 2.5  4.5]
       [10.5 12.5]]]]
    """
    with operands(x) as (backend, x):
        slices = _windows(backend, "avg_pool2d", x, window, stride, padding, 0.0)
        total = slices[0]
        for part in slices[1:]:
            total = total + part
        return total / len(slices)


def _windows(
    backend: Backend,
    name: str,
    x: Array,
    window: int | Pair,
    stride: int | Pair | None,
    padding: int | Pair,
    filler: float,
) -> list[Array]:
    size = _pair("window", window, 1)
    strides = size if stride is None else _pair("stride", stride, 1)
    pads = _pair("padding", padding, 0)
    shape = backend.shape(x)
    if len(shape) != 4:
        raise ShapeError(
            f"{name} takes images (N, C, H, W), got the shape {shape}; "
            f"type: xp.expand_dims(x, axis=0) for a single image"
        )
    if any(2 * p > k for p, k in zip(pads, size, strict=True)):
        raise ShapeError(
            f"{name} got padding={pads} for window={size}; type: at most half the window"
        )
    _fits(name, shape, size, pads)
    return _slices(backend.xp, _padded(backend.xp, x, pads, filler), size, strides)


def _fits(name: str, shape: tuple[int, ...], window: Pair, pads: Pair) -> None:
    padded = (shape[2] + 2 * pads[0], shape[3] + 2 * pads[1])
    if window[0] > padded[0] or window[1] > padded[1]:
        raise ShapeError(
            f"{name} got a window {window} larger than the padded image {padded}; "
            f"type: a larger padding=, or a smaller window"
        )


def _padded(xp: Any, x: Array, pads: Pair, filler: float) -> Array:
    for axis, pad in zip((2, 3), pads, strict=True):
        if pad:
            edge = x[(slice(None),) * axis + (slice(0, 1),)]
            border = xp.concat([xp.full_like(edge, filler)] * pad, axis=axis)
            x = xp.concat([border, x, border], axis=axis)
    return x


def _slices(xp: Any, x: Array, window: Pair, strides: Pair) -> list[Array]:
    rows = [slice(i, x.shape[2] - window[0] + i + 1, strides[0]) for i in range(window[0])]
    columns = [slice(j, x.shape[3] - window[1] + j + 1, strides[1]) for j in range(window[1])]
    return [x[:, :, row, column] for row in rows for column in columns]


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ArgumentError(
            f"{name} is an int of at least {least}, or two of them, got {value!r}; type: {name}=2"
        )
    return (pair[0], pair[1])
