"""MXNet's two array classes: ``mx.np.ndarray`` and the older ``mx.nd.NDArray``."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from unigrad_mxnet.framework import mx

__all__ = [
    "as_class",
    "constant",
    "is_np",
    "new_arrays_like",
    "numpy_semantics",
    "overwrite",
    "peek",
    "public",
    "semantics",
]

F = TypeVar("F", bound=Callable[..., Any])


@runtime_checkable
class _Named(Protocol):
    def _make(self, values: Iterable[Any]) -> Any: ...


def is_np(x: Any) -> bool:
    """Whether ``x`` is an ``mx.np.ndarray``."""
    return isinstance(x, mx.np.ndarray)


@contextlib.contextmanager
def numpy_semantics() -> Iterator[None]:
    """NumPy's shapes (0-d, without entries) and array class, on this thread and in here only."""
    with mx.util.np_shape(True), mx.util.np_array(True):
        yield


def semantics(*arrays: Any) -> contextlib.AbstractContextManager[None]:
    """`numpy_semantics` where an ``mx.np.ndarray`` takes part; as it is otherwise."""
    return numpy_semantics() if any(is_np(x) for x in arrays) else contextlib.nullcontext()


def as_class(x: Any, like: Any) -> Any:
    """``x`` in the class of ``like``, still recorded; a 0-d array becomes (1,) in ``mx.nd``."""
    if is_np(like):
        return x if is_np(x) else x.as_np_ndarray()
    return as_nd(x) if is_np(x) else x


def as_nd(x: Any) -> Any:
    """``x`` as an ``mx.nd`` array, which has no 0-d arrays: (1,) instead."""
    if x.ndim == 0:
        x = x.reshape((1,))
    return x.as_nd_ndarray()


class _State(threading.local):
    """Of this thread: whether a function of `namespace` runs, and what its new arrays are."""

    inside = False
    new_are_nd = False


_state = _State()


@contextlib.contextmanager
def new_arrays_like(leaves: Sequence[Any]) -> Iterator[None]:
    """Let ``xp.zeros`` and its like give the class of ``leaves``, with which they will be mixed."""
    before = _state.new_are_nd
    _state.new_are_nd = bool(leaves) and not any(is_np(x) for x in leaves)
    try:
        yield
    finally:
        _state.new_are_nd = before


def public(f: F) -> F:
    """``f``, written on ``mx.np`` arrays, for either class and for NumPy arrays beside them."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _state.inside:
            return f(*args, **kwargs)
        like = next(
            (x for x in _listed((*args, *kwargs.values())) if isinstance(x, mx.nd.NDArray)), None
        )
        context = None if like is None else like.ctx
        _state.inside = True
        try:
            with numpy_semantics():
                out = f(
                    *(_inside(x, context) for x in args),
                    **{k: _inside(x, context) for k, x in kwargs.items()},
                )
                is_nd = _state.new_are_nd if like is None else not is_np(like)
                return _outside(out) if is_nd else out
        finally:
            _state.inside = False

    return cast(F, call)


def _listed(args: Iterable[Any]) -> Iterator[Any]:
    for x in args:
        if isinstance(x, list | tuple):
            yield from x
        else:
            yield x


def _inside(x: Any, context: Any) -> Any:
    if isinstance(x, mx.nd.NDArray):
        return x if is_np(x) else x.as_np_ndarray()
    if isinstance(x, np.ndarray):
        return constant(x, context)
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, list | tuple) and any(isinstance(v, mx.nd.NDArray | np.ndarray) for v in x):
        return type(x)(_inside(v, context) for v in x)
    return x


def _outside(x: Any) -> Any:
    if isinstance(x, mx.nd.NDArray):
        return as_nd(x)
    if isinstance(x, tuple):
        parts = [_outside(v) for v in x]
        return x._make(parts) if isinstance(x, _Named) else tuple(parts)
    return x


def constant(values: np.ndarray[Any, Any], context: Any = None, dtype: Any = None) -> Any:
    """A new ``mx.np`` array with these values."""
    made = mx.np.empty(values.shape, dtype=dtype or values.dtype, ctx=context)
    if values.size:
        overwrite(made, np.ascontiguousarray(values, dtype=made.dtype).reshape(values.shape))
    return made


def overwrite(x: Any, values: Any) -> None:
    """Put ``values`` in place of all of ``x``, which no graph may hold."""
    if is_np(x) and x.ndim == 0:
        x[()] = values  # MXNet takes no other index there
    else:
        x[:] = values


def peek(x: Any) -> np.ndarray[Any, Any]:
    """The values of ``x`` as a constant, for choosing indices and branches."""
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        values: np.ndarray[Any, Any] = x.asnumpy()
        return values
