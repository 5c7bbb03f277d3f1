"""Creation and dtype functions of the array API standard on tensors.

Default dtypes are float32 and int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from unigrad.backend import Array
from unigrad.errors import ArgumentError
from unigrad_tensorflow.promotion import as_dtype, tensor

__all__ = [
    "arange", "asarray", "astype", "empty", "eye", "finfo", "full", "full_like", "isdtype",
    "linspace", "ones", "ones_like", "zeros", "zeros_like",
]  # fmt: skip


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Array:
    """A tensor of anything array-like; lists may hold tensors."""
    return tensor(obj, as_dtype(dtype))


def astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Array:
    """``x`` in another dtype."""
    x = tensor(x)
    wanted = as_dtype(dtype)
    return tf.identity(x) if x.dtype == wanted else tf.cast(x, wanted)


def _shape(shape: Any) -> Any:
    return (shape,) if isinstance(shape, int) else shape


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros."""
    return tf.zeros(_shape(shape), as_dtype(dtype) or tf.float32)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones."""
    return tf.ones(_shape(shape), as_dtype(dtype) or tf.float32)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros."""
    return zeros(shape, dtype=dtype)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """``fill_value`` everywhere."""
    return tf.broadcast_to(tensor(fill_value, as_dtype(dtype)), _shape(shape))


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros in the shape of ``x``."""
    return tf.zeros_like(tensor(x), as_dtype(dtype))


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones in the shape of ``x``."""
    return tf.ones_like(tensor(x), as_dtype(dtype))


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """``fill_value`` everywhere in the shape and dtype of ``x``."""
    x = tensor(x)
    return tf.broadcast_to(tensor(fill_value, as_dtype(dtype) or x.dtype), tf.shape(x))


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Array:
    """``start``, ``start + step``, ... before ``stop``."""
    start, stop = (0, start) if stop is None else (start, stop)
    values = np.arange(start, stop, step)
    default = tf.float32 if values.dtype.kind == "f" else tf.int64
    return tensor(values, as_dtype(dtype) or default)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Array:
    """``num`` numbers evenly spaced from ``start`` to ``stop``."""
    values = np.linspace(start, stop, num, endpoint=endpoint)
    return tensor(values, as_dtype(dtype) or tf.float32)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Array:
    """Ones on the ``k``-th diagonal."""
    return tensor(np.eye(n_rows, n_cols, k), as_dtype(dtype) or tf.float32)


def finfo(type: Any, /) -> Any:
    """Machine limits of a floating dtype or of the array's."""
    dtype = type.dtype if isinstance(type, tf.__internal__.types.Tensor) else type
    return np.finfo(as_dtype(dtype).as_numpy_dtype)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether ``dtype`` is of this kind, or of one of these kinds."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    found = as_dtype(dtype)
    if not isinstance(kind, str):
        return bool(found == as_dtype(kind))
    if kind not in _KINDS:
        raise ArgumentError(f"isdtype was asked for the kind {kind!r}; type one of {[*_KINDS]}")
    return np.dtype(found.as_numpy_dtype).kind in _KINDS[kind]


_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}
