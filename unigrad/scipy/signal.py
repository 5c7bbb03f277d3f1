"""scipy.signal, followed: convolutions, correlations and linear filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal as ss

from unigrad.engine.core import Box, Rule
from unigrad.engine.primitive import primitive
from unigrad.engine.rules.elementwise import conjugate
from unigrad.errors import TracingError
from unigrad.scipy.arrays import as_array

__all__ = ["convolve", "correlate", "fftconvolve", "lfilter"]

# ------------------------------------------------------------------------- convolution


def _reversed(x: Any, axes: tuple[int, ...]) -> Any:
    return conjugate(np.flip(x, axes))


def _full_value(a: Any, b: Any, method: str, axes: tuple[int, ...]) -> Any:
    if len(axes) == np.ndim(a) and method != "fft":
        return ss.convolve(a, b, "full", method)
    return ss.fftconvolve(a, b, "full", axes)


def _cut(x: Any, starts: tuple[int, ...], lengths: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    window = [slice(None)] * np.ndim(x)
    for axis, start, length in zip(axes, starts, lengths, strict=True):
        window[axis] = slice(start, start + length)
    return x[tuple(window)]


def _correlated(g: Any, other: Any, like: Any, method: str, axes: tuple[int, ...]) -> Any:
    """What a full convolution with ``other`` gives back to the argument ``like``."""
    spread = _full(g, _reversed(other, axes), method=method, axes=axes)
    starts = tuple(other.shape[i] - 1 for i in axes)
    return _cut(spread, starts, tuple(like.shape[i] for i in axes), axes)


_full = primitive(
    Rule(
        "scipy.signal.convolve",
        [
            lambda g, ans, a, b, **options: _correlated(g, b, a, **options),
            lambda g, ans, a, b, **options: _correlated(g, a, b, **options),
        ],
    ),
    _full_value,
)


def _convolved(a: Any, b: Any, mode: str, method: str, axes: tuple[int, ...]) -> Any:
    m, n = (tuple(x.shape[i] for i in axes) for x in (a, b))
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode is 'full', 'same' or 'valid', got {mode!r}")
    if 0 in (*a.shape, *b.shape):
        return np.zeros(0)
    if mode == "valid":
        if all(i <= j for i, j in zip(m, n, strict=True)):
            m, n = n, m
        elif not all(i >= j for i, j in zip(m, n, strict=True)):
            raise ValueError(
                f"mode 'valid' needs one array at least as large as the other along every axis, "
                f"got {a.shape} and {b.shape}"
            )
    full = _full(a, b, method=method, axes=axes)
    if mode == "full":
        return full
    if mode == "same":
        return _cut(full, tuple((j - 1) // 2 for j in n), m, axes)
    lengths = tuple(i - j + 1 for i, j in zip(m, n, strict=True))
    return _cut(full, tuple(j - 1 for j in n), lengths, axes)


def _pair(a: Any, b: Any) -> tuple[Any, Any]:
    a, b = as_array(a), as_array(b)
    if np.ndim(a) != np.ndim(b):
        raise ValueError(f"both arrays should have as many axes, got {a.shape} and {b.shape}")
    return a, b


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """``sum_k in1[k] in2[n - k]``, along all axes, as `scipy.signal.convolve`.

    Args:
        mode: "full", "same" (the middle, as large as ``in1``), "valid" (no zeros beyond the end).
        method: "auto", "direct" or "fft".

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: convolve(x, [1.0, 2.0])[1])(np.ones(3))
    array([2., 1., 0.])
    """
    a, b = _pair(in1, in2)
    if not isinstance(a, Box) and not isinstance(b, Box):
        return ss.convolve(a, b, mode, method)
    if np.ndim(a) == 0:
        return a * b
    return _convolved(a, b, mode, method, tuple(range(np.ndim(a))))


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """`convolve` by Fourier transforms, along some axes, as `scipy.signal.fftconvolve`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: fftconvolve(x, np.array([1.0, 2.0]))[1])(np.ones(3)).round(9) + 0.0
    array([2., 1., 0.])
    """
    a, b = _pair(in1, in2)
    if not isinstance(a, Box) and not isinstance(b, Box):
        return ss.fftconvolve(a, b, mode, axes)
    ndim = np.ndim(a)
    if ndim == 0:
        return a * b
    if axes is None:
        chosen: tuple[int, ...] = tuple(range(ndim))
    else:
        chosen = tuple(sorted(i % ndim for i in np.atleast_1d(axes).tolist()))
    return _convolved(a, b, mode, "fft", chosen)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """``sum_k in1[k + n] conj(in2[k])``, along all axes, as `scipy.signal.correlate`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: correlate(x, np.array([1.0, 2.0]), "valid")[0])(np.ones(3))
    array([1., 2., 0.])
    """
    a, b = _pair(in1, in2)
    if not isinstance(a, Box) and not isinstance(b, Box):
        return ss.correlate(a, b, mode, method)
    if np.ndim(a) == 0:
        return a * conjugate(b)
    return convolve(a, _reversed(b, tuple(range(np.ndim(b)))), mode, method)


# ------------------------------------------------------------------------- filters


def _lagged(g: Any, x: Any, count: int, axis: int) -> Any:
    """``sum_n g[n] conj(x[n - k])`` for ``k`` below ``count``, over all other axes too."""
    g, x = np.moveaxis(g, axis, -1), conjugate(np.moveaxis(x, axis, -1))
    n = x.shape[-1]
    sums = [np.sum(g[..., k:] * x[..., : max(n - k, 0)]) for k in range(count)]
    return np.stack(sums)


def _pull_lfilter(g: Any, ans: Any, b: Any, a: Any, x: Any, axis: int) -> Any:
    one = np.ones(1, a.dtype)
    ahead = np.flip(lfilter(one, conjugate(a), np.flip(g, axis), axis), axis)
    to_x = np.flip(lfilter(conjugate(b), one, np.flip(ahead, axis), axis), axis)
    to_b = _lagged(ahead, x, b.shape[0], axis)
    return to_b, -_lagged(ahead, ans, a.shape[0], axis), to_x


def _lfilter_value(b: Any, a: Any, x: Any, axis: int) -> Any:
    return ss.lfilter(b, a, x, axis)


_filtered = primitive(Rule("scipy.signal.lfilter", joint=_pull_lfilter), _lfilter_value)


def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """``y`` with ``sum_k a[k] y[n - k] = sum_k b[k] x[n - k]``, as `scipy.signal.lfilter`.

    Args:
        b: ``(m,)``, numerator; ``a``: ``(n,)``, denominator.
        x: filtered along ``axis``, from rest: with ``zi`` on plain arrays only.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda x: lfilter([1.0], [1.0, -0.5], x)[2])(np.ones(3))
    array([0.25, 0.5 , 1.  ])
    """
    b, a, x = as_array(b), as_array(a), as_array(x)
    if zi is not None:
        if any(isinstance(v, Box) for v in (b, a, x, zi)):
            raise TracingError(
                "lfilter(..., zi=...) of traced values is not followed; filter the signal in one "
                "piece, from rest"
            )
        return ss.lfilter(b, a, x, axis, zi)
    return _filtered(b, a, x, axis=axis)
