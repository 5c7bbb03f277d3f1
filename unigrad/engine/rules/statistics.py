"""Rules of covariances and counts."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from unigrad.engine.core import Box
from unigrad.engine.indexing import scatter
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.shaping import arrayed, shape_of
from unigrad.engine.table import NO_VALUE, composite
from unigrad.errors import TracingError

__all__: list[str] = []


def _variables(m: Any, rowvar: bool, dtype: Any) -> Any:
    """Observations as a matrix: one variable in each row."""
    if len(shape_of(m)) > 2:
        raise ValueError("m has more than 2 dimensions")
    x = np.atleast_2d(m).astype(dtype, copy=False)
    return x if rowvar or shape_of(x)[0] == 1 else np.swapaxes(x, 0, 1)


@composite("cov")
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    arrays = [m] if y is None else [m, y]
    dtype = np.result_type(*arrays, np.float64) if dtype is None else dtype
    rows = [_variables(m, rowvar, dtype)]
    if y is not None:
        flat = len(shape_of(y)) < 2
        rows.append(_variables(y, rowvar or flat, dtype))
    x = np.concatenate(rows, axis=0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = shape_of(x)[1]
    weights: Any = None
    for w in (fweights, aweights):
        if w is None:
            continue
        w = arrayed(w)
        if shape_of(w) != (n,):
            raise RuntimeError("weights of numpy.cov must be 1-D, one for each observation")
        weights = w if weights is None else weights * w
    if weights is None:
        mean, degrees, scaled = np.mean(x, axis=1, keepdims=True), n - ddof, None
    else:
        weights = weights * 1.0
        total = np.sum(weights)
        mean = np.sum(x * weights, axis=1, keepdims=True) / total
        correction = (
            ddof if aweights is None else ddof * np.sum(weights * arrayed(aweights)) / total
        )
        degrees, scaled = total - correction, weights
    x = x - mean
    other = x if scaled is None else x * scaled
    degrees = np.float64(max(degrees, 0)) if scaled is None else degrees
    c = np.matmul(x, conjugate(np.swapaxes(other, 0, 1))) / degrees
    return np.squeeze(c)


@composite("corrcoef")
def _corrcoef(
    x: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: Any = NO_VALUE,
    ddof: Any = NO_VALUE,
    *,
    dtype: Any = None,
) -> Any:
    c = np.cov(x, y, rowvar, dtype=dtype)
    if len(shape_of(c)) == 0:
        return c / c
    deviation = np.sqrt(np.diag(c).real)
    c = c / deviation[:, None] / deviation[None, :]
    if c.dtype.kind == "c":
        return np.clip(c.real, -1, 1) + 1j * np.clip(c.imag, -1, 1)
    return np.clip(c, -1, 1)


@composite("bincount")
def _bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Any:
    if isinstance(x, Box) and x.dtype.kind in "fc":  # type: ignore[attr-defined]
        raise TracingError(
            "numpy.bincount of traced values has no derivative; "
            "type: numpy.bincount(ug.stop_gradient(x).astype(int), weights)"
        )
    x = np.asarray(x)
    if len(shape_of(weights)) != 1 or shape_of(weights) != x.shape:
        raise ValueError("The weights and list don't have the same length.")
    length = len(np.bincount(x, minlength=operator.index(minlength)))
    return scatter(weights.astype(np.float64), (x,), (length,))


def _refused(names: str, advice: str) -> None:
    for name in names.split():

        @composite(name)
        def handler(*_: Any, name: str = name, **__: Any) -> NoReturn:
            raise TracingError(f"numpy.{name} of traced values has no derivative; {advice}")


_refused(
    "histogram histogram2d histogramdd histogram_bin_edges",
    "counts are constant between jumps: use ug.stop_gradient on its arguments, and for traced "
    "weights numpy.bincount(numpy.digitize(ug.stop_gradient(x), edges), weights)",
)
