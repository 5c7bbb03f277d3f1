"""Operands of one dtype, as the array API standard promotes them.

TensorFlow's operators promote a Python number to the tensor's dtype, its functions mostly do
not promote at all. Python numbers never decide a dtype beside an array; NumPy arrays do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from unigrad.backend import Array

__all__ = ["as_dtype", "operands", "result_type", "tensor"]

_TENSOR = tf.__internal__.types.Tensor
_SCALARS = (bool, int, float, complex, np.generic)


def as_dtype(dtype: Any) -> Any:
    """A ``tf.DType`` from one, a NumPy dtype, a name or a Python type; ``None`` stays."""
    if dtype is None:
        return None
    if dtype is float:
        return tf.float32
    if dtype is int:
        return tf.int64
    return tf.as_dtype(dtype).base_dtype


def tensor(x: Any, dtype: Any = None) -> Array:
    """A tensor of anything array-like; lists may hold tensors; floats are float32 by default."""
    if isinstance(x, tf.Tensor):
        return x if dtype is None or x.dtype == dtype else tf.cast(x, dtype)
    if isinstance(x, _TENSOR):
        return tensor(tf.convert_to_tensor(x), dtype)
    if isinstance(x, (list, tuple)) and _holds_tensors(x):
        return tf.stack(operands(*x)) if dtype is None else tf.stack([tensor(e, dtype) for e in x])
    if isinstance(x, np.ndarray):
        return tf.constant(x) if dtype is None else tf.cast(tf.constant(x), dtype)
    array = np.asarray(x)
    if dtype is None and not isinstance(x, np.generic):
        dtype = {"f": tf.float32, "c": tf.complex64}.get(array.dtype.kind)
    return tf.constant(array if dtype is None else array.astype(dtype.as_numpy_dtype))


def _holds_tensors(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_holds_tensors(e) for e in x)
    return isinstance(x, _TENSOR)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that arrays, dtypes and Python numbers have together."""
    strong = [
        tf.as_dtype(x.dtype).base_dtype if isinstance(x, (_TENSOR, np.ndarray)) else as_dtype(x)
        for x in arrays_and_dtypes
        if not isinstance(x, _SCALARS)
    ]
    weak = [np.asarray(x).dtype.kind for x in arrays_and_dtypes if isinstance(x, _SCALARS)]
    if not strong:
        # Only Python numbers: the defaults of `tensor`.
        common = np.result_type(*[np.asarray(x).dtype for x in arrays_and_dtypes])
        return {"f": tf.float32, "c": tf.complex64}.get(common.kind, tf.as_dtype(common))
    common = strong[0]
    for other in strong[1:]:
        common = _pair(common, other)
    if "c" in weak and not common.is_complex:
        return tf.complex128 if common == tf.float64 else tf.complex64
    if "f" in weak and not (common.is_floating or common.is_complex):
        return tf.float32
    if ("i" in weak or "u" in weak) and common.is_bool:
        return tf.int64
    return common


def _pair(a: Any, b: Any) -> Any:
    if a == b:
        return a
    smooth = [d for d in (a, b) if d.is_floating or d.is_complex]
    if len(smooth) == 1:
        return smooth[0]
    return tf.as_dtype(np.result_type(a.as_numpy_dtype, b.as_numpy_dtype))


def operands(*xs: Any) -> tuple[Array, ...]:
    """All of these as tensors of their common dtype."""
    if all(isinstance(x, tf.Tensor) for x in xs):
        first = xs[0].dtype
        if all(x.dtype == first for x in xs):
            return xs
    xs = tuple(tensor(x) if isinstance(x, (list, tuple)) else x for x in xs)
    dtype = result_type(*xs)
    return tuple(tensor(x, dtype) for x in xs)
