"""What the functions of `unigrad.ops` do with their arguments before they compute.

Arrays pass as they are; a number, or a NumPy array beside a framework's arrays, becomes an array
of that framework with the dtype of its arrays, so that a constant never changes the dtype.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unigrad.arrays import is_array
from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, ShapeError, UnsupportedError
from unigrad.registry import backend_of

BOOLEAN, INTEGER, REAL, COMPLEX = range(4)


@contextlib.contextmanager
def operands(
    *xs: Any, beside: Sequence[Any] = (), real: bool = False, promote: bool = True
) -> Iterator[Any]:
    """``(backend, *arrays)`` of one call, within the scope that the backend needs for them.

    Args:
        beside: further arguments that must be of the same backend; they are left as they are.
        real: refuse complex arrays, which have no order.
        promote: give arrays of different dtypes the common one.
    """
    for x in (*xs, *beside):
        if not is_array(x):
            raise ArgumentError(
                f"an array or a number was expected, got {type(x).__name__}; "
                f"type: np.asarray(...), or ug.asarray(..., backend=...)"
            )
    backend = backend_of((*xs, *beside))
    own = [x for x in xs if isinstance(x, backend.array_types)]
    arrays = _arrays(backend, xs, own or [x for x in beside if _is_own(backend, x)])
    with backend.scope([*arrays, *beside]) or contextlib.nullcontext():
        if real and any(kind(backend, x) == COMPLEX for x in arrays):
            raise UnsupportedError(
                "this function is of real arrays, got a complex one; "
                "type: xp.real(z), xp.imag(z) or ug.ops.norm(z)"
            )
        if promote and len({backend.dtype(x) for x in arrays}) > 1:
            common = backend.xp.result_type(*[x.dtype for x in arrays])
            arrays = [backend.xp.astype(x, common) for x in arrays]
        yield (backend, *arrays)


def _is_own(backend: Backend, x: Any) -> bool:
    return isinstance(x, backend.array_types)


def _arrays(backend: Backend, xs: Sequence[Any], own: Sequence[Array]) -> list[Array]:
    lead = None
    for x in own:  # max(key=) is more than torch.compile can follow
        if lead is None or kind(backend, x) > kind(backend, lead):
            lead = x
    arrays = []
    for x in xs:
        if _is_own(backend, x):
            arrays.append(backend.prepare(x))
            continue
        fits = lead is not None and _kind_of(np.asarray(x).dtype.name) <= kind(backend, lead)
        dtype = backend.dtype(lead) if fits else None
        arrays.append(backend.asarray(x, dtype=dtype, like=lead))
    return arrays


def kind(backend: Backend, x: Array) -> int:
    """The place of the dtype of ``x`` in boolean < integer < real < complex."""
    return _kind_of(backend.dtype(x))


def _kind_of(dtype: str) -> int:
    if dtype == "bool":
        return BOOLEAN
    if dtype.startswith(("int", "uint")):
        return INTEGER
    return COMPLEX if dtype.startswith("complex") else REAL


def of_dtype(backend: Backend, y: Array, x: Array) -> Array:
    """``y`` with the dtype of ``x``, where that is real.

    NumPy 1 makes float64 of a float32 array without axes and a Python number.
    """
    if kind(backend, x) != REAL or backend.dtype(y) == backend.dtype(x):
        return y
    return backend.xp.astype(y, x.dtype)


def indices(backend: Backend, x: Any, name: str, like: Array | None = None) -> Array:
    """``x`` as an array of integers on the backend."""
    array = backend.prepare(x) if isinstance(x, backend.array_types) else None
    if array is None:
        array = backend.asarray(x, like=like)
    if kind(backend, array) != INTEGER:
        raise ArgumentError(
            f"{name} are integers, got {backend.dtype(array)}; type: {name}.astype('int64')"
        )
    return array


def check_range(backend: Backend, x: Array, low: int, high: int, name: str) -> None:
    """Refuse indices outside ``low <= x < high``, where their values can be looked at."""
    if not backend.is_concrete(x):
        return
    values = backend.to_numpy(x)
    if values.size and (values.min() < low or values.max() >= high):
        raise ShapeError(
            f"{name} must lie in {low}...{high - 1}, got {values.min()}...{values.max()}; "
            f"mend the {name}, or the length of the axis that they count along"
        )


def axes_of(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The axes meant by ``axis`` (``None``: all), as increasing numbers from 0."""
    if axis is None:
        return tuple(range(ndim))
    asked = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    found = sorted({one_axis(a, ndim) for a in asked})
    if not found or len(found) != len(asked):
        raise ShapeError(
            f"axis={axis!r} names no axis, or one of them twice; "
            f"type: an int, a tuple of different ints, or None for all axes"
        )
    return tuple(found)


def one_axis(axis: Any, ndim: int) -> int:
    """One axis counted from 0."""
    try:
        index = operator.index(axis)
    except TypeError:
        raise ArgumentError(f"an axis is an int, got {axis!r}; type: axis=0, or axis=-1") from None
    if not -ndim <= index < ndim:
        raise ShapeError(
            f"axis={index} was asked of an array of {ndim} axes; "
            f"type: an axis between {-ndim} and {ndim - 1}"
        )
    return index % ndim


def is_empty(x: Array, axes: Sequence[int]) -> bool:
    """Whether one of the axes has length 0 (a length not known while tracing counts as not)."""
    return any(x.shape[a] == 0 for a in axes)


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse an option that is not one of those allowed."""
    if value not in allowed:
        listed = " or ".join(repr(a) for a in allowed)
        raise ArgumentError(f"{name}={value!r} was asked for; type: {name}={listed}")
