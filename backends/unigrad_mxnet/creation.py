"""Constants, dtypes and new arrays of `namespace`."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unigrad.errors import UnsupportedError
from unigrad_mxnet.arrays import constant, public
from unigrad_mxnet.framework import mx

_mn: Any = mx.np

pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
bool = np.dtype("bool")
complex64 = np.dtype("complex64")
complex128 = np.dtype("complex128")

DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool")

Shape = int | Sequence[int]


def supported(dtype: Any) -> np.dtype[Any]:
    """The dtype, if MXNet has arrays of it."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.name not in DTYPES:
        raise UnsupportedError(
            f"an MXNet array of dtype {kind.name} was asked for, but MXNet has only "
            f"{', '.join(DTYPES)}; type: ug.asarray(tree, backend='numpy')"
        )
    return kind


@public
def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: builtins.bool | None = None
) -> Any:
    if isinstance(obj, mx.nd.NDArray):
        if dtype is None or np.dtype(dtype) == np.dtype(obj.dtype):
            return obj.copy() if copy else obj
        return obj.astype(supported(dtype))
    if isinstance(obj, list | tuple) and _holds_arrays(obj):
        made = _mn.stack([asarray(v) for v in obj])
        return made if dtype is None else made.astype(supported(dtype))
    values = np.asarray(obj)
    return constant(values, device, supported(values.dtype if dtype is None else dtype))


def _holds_arrays(obj: Any) -> builtins.bool:
    if isinstance(obj, list | tuple):
        return builtins.any(_holds_arrays(v) for v in obj)
    return isinstance(obj, mx.nd.NDArray)


@public
def astype(x: Any, dtype: Any, /, *, copy: builtins.bool = True) -> Any:
    return x.astype(supported(dtype), copy=copy)


@public
def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    if isinstance(fill_value, mx.nd.NDArray):
        filled = _mn.broadcast_to(fill_value, _shape(shape))
        return filled if dtype is None else filled.astype(supported(dtype))
    kind = supported(np.asarray(fill_value).dtype if dtype is None else dtype)
    return constant(np.full(_shape(shape), fill_value, dtype=kind), device)


@public
def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    return _mn.zeros(_shape(shape), dtype=supported(dtype or float64), ctx=device)


@public
def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    return full(shape, 1, dtype=dtype or float64, device=device)


@public
def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    return zeros(x.shape, dtype=dtype or x.dtype, device=device or x.ctx)


@public
def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    return ones(x.shape, dtype=dtype or x.dtype, device=device or x.ctx)


@public
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.ctx)


def _shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


@public
def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    if stop is None:
        start, stop = 0, start
    values = np.arange(start, stop, step)
    return constant(values, device, supported(dtype or values.dtype))


@public
def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: builtins.bool = True,
) -> Any:
    values = np.linspace(start, stop, num, endpoint=endpoint)
    return constant(values, device, supported(dtype or values.dtype))


@public
def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Any:
    return constant(np.eye(n_rows, n_cols, k), device, supported(dtype or float64))


@public
def tril(x: Any, /, *, k: int = 0) -> Any:
    return _triangle(x, np.tril(np.ones(x.shape[-2:], dtype=np.bool_), k))


@public
def triu(x: Any, /, *, k: int = 0) -> Any:
    return _triangle(x, np.triu(np.ones(x.shape[-2:], dtype=np.bool_), k))


def _triangle(x: Any, kept: np.ndarray[Any, Any]) -> Any:
    zero = _mn.zeros((), dtype=x.dtype, ctx=x.ctx)
    return _mn.where(constant(kept, x.ctx), x, zero)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether ``dtype`` is of this kind, or of one of these."""
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, k) for k in kind)
    letters = {
        "bool": "b",
        "signed integer": "i",
        "unsigned integer": "u",
        "integral": "iu",
        "real floating": "f",
        "complex floating": "c",
        "numeric": "iufc",
    }
    if isinstance(kind, str) and kind in letters:
        return np.dtype(dtype).kind in letters[kind]
    return str(np.dtype(dtype)) == str(np.dtype(kind))


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that these give together."""
    return np.result_type(
        *(np.dtype(x.dtype) if isinstance(x, mx.nd.NDArray) else x for x in arrays_and_dtypes)
    )


def finfo(type: Any, /) -> Any:
    """Machine limits of a floating dtype, or of an array's."""
    return np.finfo(np.dtype(type.dtype if isinstance(type, mx.nd.NDArray) else type))
