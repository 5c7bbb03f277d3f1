"""Indexing, and its two transposes: scattering into zeros, and writing into a copy.

All three are functions of the engine's own, recorded like NumPy's, so that derivatives of any
order pass through reading and writing alike. Repeated indices add up where NumPy reads them,
and the last one wins where NumPy writes them.
"""

from __future__ import annotations

from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, innermost, primal, snapshot
from unigrad.engine.lazy import is_lazy, lazy_index, scattered, updated
from unigrad.errors import TracingError

__all__ = ["INDEX", "add_at", "is_basic", "kept_index", "scatter", "taken", "update"]

_PLAIN = frozenset({np.ndarray, np.float64, float, int})
_BASIC = (int, slice, NoneType, EllipsisType, np.integer)


def is_basic(index: Any) -> bool:
    """Whether NumPy answers this index with a view, in which no entry occurs twice."""
    parts = index if type(index) is tuple else (index,)
    return all(isinstance(i, _BASIC) and type(i) is not bool for i in parts)


def kept_index(index: Any) -> Any:
    """The index, safe from being written by the function later on."""
    if type(index) is tuple:
        return tuple(kept_index(i) for i in index)
    if isinstance(index, Box) and index.value.dtype.kind in "biu":
        return snapshot(index)  # a recorded one
    if isinstance(index, Box):
        raise TracingError(
            "an index was computed from traced values and is not an integer; "
            "type: x[ug.stop_gradient(index).astype(int)]"
        )
    if type(index) is list:
        return np.asarray(index) if index else np.asarray(index, dtype=np.intp)
    return index.copy() if type(index) is np.ndarray else index


def _unique(index: Any) -> bool:
    """Whether no entry can be addressed twice: basic indices and one boolean mask."""
    return is_basic(index) or (type(index) is np.ndarray and index.dtype == np.bool_)


def _recorder(index: Any) -> Any:
    """The recording that an index belongs to, if it is one of recorded integers."""
    for i in index if type(index) is tuple else (index,):
        if isinstance(i, Box):
            return i.home
    return None


def taken(x: Any, index: Any) -> Any:
    """``x[index]``."""
    if not isinstance(x, Box) and (home := _recorder(index)) is not None:
        return home.call(taken, (x,), {"index": index})
    if type(x) is not np.ndarray and is_lazy(x):
        lazy_index(index, len(x.shape))
    return x[index]


def _noted(rule: Rule, fn: Any, args: Any, kwargs: Any) -> Any:
    """`apply`, where the index may be a recorded one."""
    top = innermost(args)
    if top is not None and not top.home.derives:
        return top.home.call(fn, args, kwargs)  # type: ignore[attr-defined]
    return apply(rule, fn, args, kwargs)


def scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of this shape with ``g`` added at ``index``: the transpose of ``x[index]``."""
    if isinstance(g, Box):
        return _noted(_SCATTER, scatter, (g,), {"index": index, "shape": shape})
    if (home := _recorder(index)) is not None:
        return home.call(scatter, (g,), {"index": index, "shape": shape})
    out = np.zeros_like(g, shape=shape)
    if _unique(index):
        out[index] = g
    else:
        np.add.at(out, index, g)
    return out


def scatter_like(g: Any, index: Any, like: Any) -> Any:
    """`scatter`, in the chunks of ``like`` where one of the two is a Dask array."""
    if isinstance(g, Box):
        return apply(_SCATTER_LIKE, scatter_like, (g,), {"index": index, "like": like})
    return scattered(g, index, like) if is_lazy(g) else scatter(g, index, like.shape)


def _pull_taken(g: Any, ans: Any, x: Any, index: Any) -> Any:
    if type(g) is not np.ndarray and (is_lazy(primal(g)) or is_lazy(primal(x))):
        return scatter_like(g, index, primal(x))
    return scatter(g, index, x.shape)


def update(x: Any, v: Any, index: Any) -> Any:
    """A copy of ``x`` after ``x[index] = v``."""
    if isinstance(x, Box) or isinstance(v, Box):
        return _noted(_UPDATE, update, (x, v), {"index": index})
    if (home := _recorder(index)) is not None:
        return home.call(update, (x, v), {"index": index})
    if (type(x) is not np.ndarray and is_lazy(x)) or (type(v) not in _PLAIN and is_lazy(v)):
        return updated(x, v, index)
    out = np.copy(x) if isinstance(x, (np.ndarray, np.generic)) else x.copy()
    out[index] = v
    return out


def add_at(x: Any, v: Any, index: Any) -> Any:
    """A copy of ``x`` after ``numpy.add.at(x, index, v)``."""
    if isinstance(x, Box) or isinstance(v, Box):
        return _noted(_ADD_AT, add_at, (x, v), {"index": index})
    if (home := _recorder(index)) is not None:
        return home.call(add_at, (x, v), {"index": index})
    if is_lazy(x) or is_lazy(v):
        shape = x[index].shape
        return x + scatter_like(np.zeros(shape, x.dtype) + v, index, x)
    out = np.copy(x) if isinstance(x, (np.ndarray, np.generic)) else x.copy()
    _add(out, v, index)
    return out


def _winners(index: Any, shape: tuple[int, ...]) -> Any:
    """Which of the values written at ``index`` is still there afterwards."""
    places = np.arange(int(np.prod(shape))).reshape(shape)
    chosen = places[index]
    order = np.arange(chosen.size).reshape(chosen.shape)
    last = np.zeros(shape, dtype=order.dtype)
    last[index] = order
    return last[index] == order


def _pull_written(g: Any, ans: Any, x: Any, v: Any, index: Any) -> Any:
    read = taken(g, index)
    return read if _unique(index) else np.where(_winners(index, ans.shape), read, 0.0)


def _gather(total: Any, g: Any, owned: bool, index: Any) -> Any:
    """The cotangent of ``x`` and one more of ``x[index]``, in place where ``total`` is ours."""
    if not owned or isinstance(g, Box) or is_lazy(g):
        return add_at(total, g, index)
    _add(total, g, index)
    return total


def _add(total: Any, g: Any, index: Any) -> None:
    if _unique(index):
        total[index] += g
    else:
        np.add.at(total, index, g)


INDEX = Rule(
    "indexing",
    [_pull_taken],
    linear=True,
    gather=_gather,
)
_SCATTER = Rule("scatter", [lambda g, ans, x, index, shape: taken(g, index)], linear=True)
_SCATTER_LIKE = Rule("scatter", [lambda g, ans, x, index, like: taken(g, index)], linear=True)
_UPDATE = Rule(
    "assignment",
    [lambda g, ans, x, v, index: update(g, 0.0, index), _pull_written],
    linear=True,
)
_ADD_AT = Rule(
    "add.at",
    [lambda g, ans, x, v, index: g, lambda g, ans, x, v, index: taken(g, index)],
    linear=True,
)
