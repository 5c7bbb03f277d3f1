"""Rules of NumPy's functions of polynomials, highest power first.

Where NumPy drops leading coefficients that are zero, they are kept: a shape is no function of
values. The functions of `numpy.polynomial` need no rule, they are plain arithmetic.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from unigrad.engine.rules.shaping import arrayed, shape_of
from unigrad.engine.table import composite
from unigrad.errors import TracingError

__all__: list[str] = []


def _coefficients(name: str, p: Any) -> Any:
    """The coefficients of a polynomial, as an array of rank 1."""
    if isinstance(p, np.poly1d):
        p = p.coeffs
    p = np.atleast_1d(arrayed(p))
    if len(shape_of(p)) != 1:
        raise ValueError(f"numpy.{name} takes coefficients of rank 1, got {shape_of(p)}")
    return p


@composite("polyval")
def _polyval(p: Any, x: Any) -> Any:
    if isinstance(x, np.poly1d):
        raise TracingError(
            "numpy.polyval of traced coefficients at a poly1d is not followed; "
            "multiply the polynomials with numpy.convolve"
        )
    x = arrayed(x)
    p = _coefficients("polyval", p)
    y = np.zeros(shape_of(x), dtype=x.dtype)
    for i in range(shape_of(p)[0]):
        y = y * x + p[i]
    return y


def _summed(name: str, sign: int) -> None:
    @composite(name)
    def handler(a1: Any, a2: Any) -> Any:
        a1, a2 = _coefficients(name, a1), _coefficients(name, a2)
        n, m = shape_of(a1)[0], shape_of(a2)[0]
        if n < m:
            a1 = np.concatenate([np.zeros(m - n, dtype=a1.dtype), a1])
        if m < n:
            a2 = np.concatenate([np.zeros(n - m, dtype=a2.dtype), a2])
        return a1 + a2 if sign > 0 else a1 - a2


_summed("polyadd", 1)
_summed("polysub", -1)


@composite("polymul")
def _polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(_coefficients("polymul", a1), _coefficients("polymul", a2))


@composite("polyder")
def _polyder(p: Any, m: int = 1) -> Any:
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    p = _coefficients("polyder", p)
    for _ in range(m):
        p = p[:-1] * np.arange(shape_of(p)[0] - 1, 0, -1)
    return p


@composite("polyint")
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    constants = _coefficients("polyint", np.zeros(m) if k is None else k)
    if shape_of(constants)[0] == 1 and m > 1:
        constants = np.broadcast_to(constants, (m,))
    if shape_of(constants)[0] < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    p = _coefficients("polyint", p)
    for i in range(m):
        powers = np.arange(shape_of(p)[0], 0, -1)
        p = np.concatenate([p / powers, constants[i : i + 1]])
    return p


@composite("poly")
def _poly(seq_of_zeros: Any) -> Any:
    zeros = np.atleast_1d(seq_of_zeros)
    shape = shape_of(zeros)
    if (len(shape) == 2 and shape[0] == shape[1]) or zeros.dtype.kind == "c":
        raise TracingError(
            "numpy.poly of a traced matrix or of complex zeros is real or complex as its values "
            "are; multiply the factors with numpy.convolve"
        )
    if len(shape) != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    p: Any = np.ones(1, dtype=zeros.dtype)
    for i in range(shape[0]):
        p = np.convolve(p, np.stack([1.0, -zeros[i]]).astype(zeros.dtype, copy=False))
    return p


@composite("roots")
def _roots(p: Any) -> Any:
    p = _coefficients("roots", p)
    n = shape_of(p)[0]
    if n < 2:
        return np.zeros(0)
    first = np.reshape(-p[1:] / p[0], (1, n - 1))
    return np.linalg.eigvals(np.concatenate([first, np.eye(n - 2, n - 1, dtype=first.dtype)]))


@composite("polyfit")
def _polyfit(
    x: Any,
    y: Any,
    deg: Any,
    rcond: Any = None,
    full: bool = False,
    w: Any = None,
    cov: Any = False,
) -> Any:
    if full or cov or np.ndim(deg) > 0:
        raise TracingError(
            "numpy.polyfit of traced arrays gives coefficients only; leave out full= and cov="
        )
    x, y = _coefficients("polyfit", x), arrayed(y)
    if shape_of(x)[0] != shape_of(y)[0]:
        raise TypeError("expected x and y to have same length")
    powers = np.vander(x, operator.index(deg) + 1)
    if w is not None:
        w = _coefficients("polyfit", w)
        powers = powers * w[:, None]
        y = y * (w[:, None] if len(shape_of(y)) == 2 else w)
    scale = np.sqrt(np.sum(powers * powers, axis=0))
    q, r = np.linalg.qr(powers / scale)
    fitted = np.linalg.solve(r, np.swapaxes(q, 0, 1) @ (y if len(shape_of(y)) == 2 else y[:, None]))
    fitted = fitted / scale[:, None]
    return fitted if len(shape_of(y)) == 2 else fitted[:, 0]


@composite("vander")
def _vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    if len(shape_of(x)) != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    count = shape_of(x)[0] if N is None else operator.index(N)
    if count == 0:
        return np.zeros_like(x, shape=(*shape_of(x), 0))
    x = x.astype(np.promote_types(x.dtype, int), copy=False)
    power: Any = np.ones_like(x)
    columns = [power]
    for _ in range(1, count):
        power = x * power
        columns.append(power)
    return np.stack(columns if increasing else columns[::-1], axis=1)


def _refused(name: str, advice: str) -> None:
    @composite(name)
    def handler(*_: Any, **__: Any) -> NoReturn:
        raise TracingError(f"numpy.{name} has no derivative rule; {advice}")


_refused(
    "polydiv",
    "the length of its remainder depends on values: write the division as numpy.linalg.solve",
)
