"""Dask arrays in the adapter of NumPy: cotangents that are lazy from the start.

A cotangent in plain NumPy would be spread over an array of any size before Dask could see it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from unigrad.backend import Array, FlatFunction, Pullback
from unigrad.engine.core import primal
from unigrad.engine.lazy import is_lazy
from unigrad.errors import NotDifferentiableError, ShapeError

__all__ = ["possible", "pullback", "released", "required", "seeded"]


def possible() -> bool:
    """Whether there can be Dask arrays: somebody imported Dask."""
    return "dask.array" in sys.modules


def required(x: Array) -> Array:
    """The Dask array, if the rules hold for it.

    Raises:
        ShapeError: if its shape is not known before it is computed.
        NotDifferentiableError: if its chunks are masked arrays.
    """
    if any(n != n for n in x.shape):
        raise ShapeError(
            f"a Dask array of shape {x.shape} was given, which is not known before it is "
            f"computed; type: x.compute_chunk_sizes() first, or numpy.where(mask, x, 0.0) "
            f"instead of x[mask]"
        )
    if isinstance(x._meta, (np.matrix, np.ma.MaskedArray)):
        raise NotDifferentiableError(
            f"a Dask array with chunks of type {type(x._meta).__name__} was given, whose "
            f"operators mean something else than those of arrays; type: "
            f"x.map_blocks(numpy.ma.filled, 0.0)"
        )
    return x


def released(y: Array, like: Array | None, shared: bool) -> Array:
    """A result in the chunks of the leaf that it belongs to, and never the user's own object."""
    if like is not None and is_lazy(like) and y.shape == like.shape and y.chunks != like.chunks:
        return y.rechunk(like.chunks)
    return y.copy() if shared else y  # Dask's y[i] = v changes the object y itself


def seeded(f: FlatFunction) -> FlatFunction:
    """The function, times a lazy one where its first output is lazy."""

    def multiplied(*xs: Array) -> tuple[Array, ...]:
        y, *rest = f(*xs)
        value = primal(y)
        return (y * np.ones_like(value) if is_lazy(value) else y, *rest)

    return multiplied


def pullback(pull: Pullback, outputs: Sequence[Array]) -> Pullback:
    """The pullback, whose plain cotangents of lazy outputs become lazy in their chunks."""

    def pulled(cotangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        given = [
            c if c is None or is_lazy(primal(c)) or not is_lazy(primal(y)) else _chunked(c, y)
            for c, y in zip(cotangents, outputs, strict=True)
        ]
        return pull(given)

    return pulled


def _chunked(c: Array, like: Array) -> Array:
    return c + np.zeros_like(primal(like), dtype=c.dtype)
