"""Rules of numpy.fft: all transforms are linear, and each pull is the transform back.

With ``E`` padding or cutting the axis to ``n``, ``fft`` is ``F E``, and its transpose ``E^T F^H``:
the inverse transform with the norm of the other direction, then padding where it had cut.
Of a half spectrum (rfft, irfft), the entries that stand for two have weight 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.indexing import scatter
from unigrad.engine.table import composite, function, refuse

__all__: list[str] = []

_BACK: dict[Any, Any] = {
    None: "forward",
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}
"""The norm of the transform back, so that it is the transpose."""


def _resized(c: Any, axis: int, n: int) -> Any:
    """An axis cut, or filled with zeros, to this length."""
    length = c.shape[axis]
    if length == n:
        return c
    index: list[Any] = [slice(None)] * len(c.shape)
    index[axis] = slice(min(length, n))
    if length > n:
        return c[tuple(index)]
    shape = list(c.shape)
    shape[axis] = n
    return scatter(c, tuple(index), tuple(shape))


def _weights(n: int, ndim: int, axis: int, middle: float, dtype: Any) -> Any:
    """How much each entry of the half spectrum of ``n`` numbers counts; the ends count 1."""
    w = np.full(n // 2 + 1, middle, dtype=dtype)
    w[0] = 1.0
    if n % 2 == 0:
        w[-1] = 1.0
    shape = [1] * ndim
    shape[axis] = -1
    return w.reshape(shape)


def _real_dtype(x: Any) -> Any:
    return np.empty(0, x.dtype).real.dtype


def _transform(name: str, back: str) -> None:
    fn_back = getattr(np.fft, back)

    def pull(g: Any, ans: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        return _resized(fn_back(g, axis=axis, norm=_BACK[norm]), axis, x.shape[axis])

    function(f"fft.{name}", "a n axis norm out", pull, linear=True)


_transform("fft", "ifft")
_transform("ifft", "fft")


def _pull_rfft(g: Any, ans: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    n = x.shape[axis] if n is None else n
    halved = g * _weights(n, len(g.shape), axis, 0.5, _real_dtype(g))
    return _resized(np.fft.irfft(halved, n, axis, norm=_BACK[norm]), axis, x.shape[axis])


def _pull_irfft(g: Any, ans: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    spectrum = np.fft.rfft(g, axis=axis, norm=_BACK[norm])
    doubled = spectrum * _weights(g.shape[axis], len(g.shape), axis, 2.0, _real_dtype(g))
    return _resized(doubled, axis, x.shape[axis])


function("fft.rfft", "a n axis norm out", _pull_rfft, linear=True)
function("fft.irfft", "a n axis norm out", _pull_irfft, linear=True)


@composite("fft.hfft")
def _hfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    refuse("fft.hfft", {"out": out})
    return np.fft.irfft(np.conj(a), n, axis, norm=_BACK[norm])


@composite("fft.ihfft")
def _ihfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    refuse("fft.ihfft", {"out": out})
    return np.conj(np.fft.rfft(a, n, axis, norm=_BACK[norm]))


# ------------------------------------------------------------------------- many axes


def _lengths(
    a: Any, s: Any, axes: Sequence[int] | None, half: bool = False
) -> tuple[list[int], list[int]]:
    """The lengths and the axes of a transform, as NumPy takes them."""
    shape = np.shape(a)
    given = None if s is None else [int(n) for n in s]
    if axes is None:
        axes = range(-len(shape if given is None else given), 0)
    axes = [int(i) for i in axes]
    if given is not None and len(given) != len(axes):
        raise ValueError("Shape and axes have different lengths.")
    lengths = [shape[i] for i in axes]
    if given is not None:  # -1: all there is
        return [m if n == -1 else n for n, m in zip(given, lengths, strict=True)], axes
    if half and axes:
        lengths[-1] = 2 * (lengths[-1] - 1)
    return lengths, axes


def _each(fn: Callable[..., Any], a: Any, lengths: list[int], axes: list[int], norm: Any) -> Any:
    for n, axis in zip(reversed(lengths), reversed(axes), strict=True):
        a = fn(a, n, axis, norm)
    return a


def _full(name: str, fn: Callable[..., Any], standard: tuple[int, ...] | None) -> None:
    @composite(f"fft.{name}")
    def handler(
        a: Any, s: Any = None, axes: Any = standard, norm: Any = None, out: Any = None
    ) -> Any:
        refuse(f"fft.{name}", {"out": out})
        return _each(fn, a, *_lengths(a, s, axes), norm)


def _real(name: str, standard: tuple[int, ...] | None) -> None:
    @composite(f"fft.{name}")
    def handler(
        a: Any, s: Any = None, axes: Any = standard, norm: Any = None, out: Any = None
    ) -> Any:
        refuse(f"fft.{name}", {"out": out})
        lengths, axes = _lengths(a, s, axes)
        a = np.fft.rfft(a, lengths[-1], axes[-1], norm)
        return _each(np.fft.fft, a, lengths[:-1], axes[:-1], norm)


def _half(name: str, standard: tuple[int, ...] | None) -> None:
    @composite(f"fft.{name}")
    def handler(
        a: Any, s: Any = None, axes: Any = standard, norm: Any = None, out: Any = None
    ) -> Any:
        refuse(f"fft.{name}", {"out": out})
        lengths, axes = _lengths(a, s, axes, half=True)
        for n, axis in zip(lengths[:-1], axes[:-1], strict=True):
            a = np.fft.ifft(a, n, axis, norm)
        return np.fft.irfft(a, lengths[-1], axes[-1], norm)


for _suffix, _axes in (("n", None), ("2", (-2, -1))):
    _full(f"fft{_suffix}", np.fft.fft, _axes)
    _full(f"ifft{_suffix}", np.fft.ifft, _axes)
    _real(f"rfft{_suffix}", _axes)
    _half(f"irfft{_suffix}", _axes)


# ------------------------------------------------------------------------- order of frequencies


def _rolled(x: Any, axes: Any, sign: int) -> Any:
    if axes is None:
        axes = tuple(range(np.ndim(x)))
    axes = (axes,) if isinstance(axes, (int, np.integer)) else tuple(axes)
    return np.roll(x, tuple(sign * (np.shape(x)[i] // 2) for i in axes), axes)


@composite("fft.fftshift")
def _fftshift(x: Any, axes: Any = None) -> Any:
    return _rolled(x, axes, 1)


@composite("fft.ifftshift")
def _ifftshift(x: Any, axes: Any = None) -> Any:
    return _rolled(x, axes, -1)
