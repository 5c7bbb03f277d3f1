"""Dask arrays: what indexing needs of them beyond NumPy's protocols.

Everything else flows through the rules as it is. Dask is never imported here: an array is known
by its class, and worked on by its own methods. Nothing here computes.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from unigrad.errors import TracingError

__all__ = ["LazyArray", "is_lazy", "lazy_index", "require_size", "scattered", "updated"]


class LazyArray(abc.ABC):  # noqa: B024 (its subclasses are found, not made)
    """The class of Dask's arrays, whether or not Dask was imported."""

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return any(
            c.__name__ == "Array" and c.__module__.startswith("dask.array.") for c in other.__mro__
        )


def is_lazy(x: Any) -> bool:
    """Whether ``x`` is an array of Dask's, which has no values yet."""
    return isinstance(x, LazyArray)


def require_size(x: Any) -> None:
    """Refuse an array whose shape is not known before it is computed, as that of ``X[mask]``."""
    if any(n != n for n in x.shape):
        raise TracingError(
            f"a reduction of a Dask array of shape {x.shape} is to be differentiated, but its size "
            f"is not known before it is computed; type: X = X[mask].compute_chunk_sizes() for the "
            f"data first, or write numpy.where(mask, x, 0.0) instead of x[mask]"
        )


def scattered(g: Any, index: Any, like: Any) -> Any:
    """Zeros as ``like``, in its chunks, with ``g`` added at ``index``."""
    parts = lazy_index(index, len(like.shape))
    # An axis that newaxis made is in `g` only.
    axis, new, chosen = 0, [], None
    for part in parts:
        if part is None:
            new.append(axis)
        elif isinstance(part, np.ndarray):
            chosen = axis
        axis += not isinstance(part, int)
    if new:
        g = g.reshape(tuple(n for i, n in enumerate(g.shape) if i not in new))
    kept: list[Any] = [part for part in parts if part is not None]
    if chosen is not None:
        axis = next(i for i, part in enumerate(kept) if isinstance(part, np.ndarray))
        chunks = like.chunks[axis] if is_lazy(like) else (like.shape[axis],)
        g = _added(g, chosen - len(new), kept[axis] % like.shape[axis], chunks)
        kept[axis] = slice(None)
    return _written(_zeros(like, g), tuple(kept), g)


def updated(x: Any, v: Any, index: Any) -> Any:
    """A copy of ``x`` after ``x[index] = v``."""
    parts = lazy_index(index, len(x.shape))
    if any(part is None for part in parts):
        raise _refusal("x[..., numpy.newaxis] = value", "leave numpy.newaxis out of the index")
    return _written(x.copy() if is_lazy(x) else _zeros(x, v, x.dtype) + x, tuple(parts), v)


def lazy_index(index: Any, ndim: int) -> list[Any]:
    """The index, a part for each axis: numbers, slices, newaxis, and one array of numbers.

    Raises:
        TracingError: for what would need values, or what Dask reads otherwise than NumPy does.
    """
    parts: list[Any] = []
    for part in index if type(index) is tuple else (index,):
        if is_lazy(part):
            raise _refusal(
                "x[mask] or x[places] by Dask arrays",
                "write numpy.where(mask, x, 0.0), or compute the places first",
            )
        if isinstance(part, (list, np.ndarray)):
            part = np.asarray(part)
            if part.dtype == np.bool_ and part.ndim == 1:
                part = np.flatnonzero(part)
            if part.ndim != 1 or part.dtype.kind not in "iu":
                raise _refusal(
                    f"an index array of shape {part.shape} and dtype {part.dtype}",
                    "index by one array of one axis, or write numpy.where(mask, x, 0.0)",
                )
        parts.append(int(part) if isinstance(part, np.integer) else part)
    arrays = [i for i, part in enumerate(parts) if isinstance(part, np.ndarray)]
    if len(arrays) > 1 or (arrays and any(isinstance(p, int) or p is None for p in parts)):
        raise _refusal(
            "an index of several arrays, or of an array beside numbers or numpy.newaxis",
            "index one axis after the other: x[places][:, 0]",
        )
    dots = [i for i, part in enumerate(parts) if isinstance(part, EllipsisType)]
    at = dots[0] if dots else len(parts)
    rest = ndim - sum(p is not None and not isinstance(p, EllipsisType) for p in parts)
    return [*parts[:at], *[slice(None)] * rest, *parts[at + 1 :]]


def _refusal(what: str, advice: str) -> TracingError:
    error: TracingError = TracingError(f"{what} of a traced Dask array is not followed; {advice}")
    return error


def _zeros(like: Any, lazy: Any, dtype: Any = None) -> Any:
    """Lazy zeros of the shape of ``like``, and of its chunks where it has any."""
    if is_lazy(like):
        return np.zeros_like(like, dtype=lazy.dtype if dtype is None else dtype)
    return np.zeros_like(lazy, dtype=dtype, shape=like.shape)


def _written(out: Any, index: tuple[Any, ...], v: Any) -> Any:
    """``out`` after ``out[index] = v``."""
    if 0 not in np.shape(v):  # Dask takes no empty value
        out[index] = v
    return out


def _added(g: Any, axis: int, places: Any, chunks: Sequence[int]) -> Any:
    """``g`` summed along an axis into zeros, at places that may repeat: chunk by chunk."""
    pieces = []
    before: tuple[slice, ...] = (slice(None),) * axis
    start = 0
    for size in chunks:
        here = np.flatnonzero((places >= start) & (places < start + size))
        piece = g[(*before, here)].rechunk({axis: -1})
        add = functools.partial(_summed, axis=axis, places=places[here] - start, size=size)
        new = (*piece.chunks[:axis], (size,), *piece.chunks[axis + 1 :])
        meta = np.empty((0,) * g.ndim, g.dtype)
        pieces.append(piece.map_blocks(add, chunks=new, dtype=g.dtype, meta=meta))
        start += size
    return np.concatenate(pieces, axis=axis)


def _summed(g: Any, axis: int, places: Any, size: int) -> Any:
    """One chunk of `_added`, in plain arrays."""
    out = np.zeros_like(g, shape=(*g.shape[:axis], size, *g.shape[axis + 1 :]))
    np.add.at(out, (*[slice(None)] * axis, places), g)
    return out
