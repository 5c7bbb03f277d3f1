"""The adapter of NumPy: the engine's primitives, and results that share no memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad import engine
from unigrad.backend import Array, Backend, FlatFunction, Pullback, Pushforward
from unigrad.engine import TracedArray
from unigrad.engine.lazy import LazyArray, is_lazy
from unigrad.errors import NotDifferentiableError, TracingError
from unigrad_numpy import lazy, namespace, spec

__all__ = ["NumpyBackend"]

_ARRAYS = (np.ndarray, TracedArray)
_PLAIN = (np.ndarray, np.generic)


class NumpyBackend(Backend):
    """Arrays are NumPy's, its scalars, the engine's traced arrays, and Dask's lazy ones."""

    name = "numpy"
    capabilities = spec.capabilities
    array_types = (np.ndarray, np.generic, TracedArray, LazyArray)

    @property
    def xp(self) -> Any:
        return namespace

    # ---------------------------------------------------------------- array glue

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        if isinstance(x, TracedArray) or is_lazy(x):
            return x.copy() if dtype is None else x.astype(dtype)
        if isinstance(x, np.ndarray) or not np.isscalar(x):
            return np.array(x, dtype=dtype)
        return np.asarray(x, dtype=dtype)[()]  # a number stays a number: `x += 1` binds x anew

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def dtype(self, x: Array) -> str:
        return _name(x.dtype)

    def same_shape(self, x: Array, y: Array) -> bool:
        return bool(x.shape == y.shape)

    def is_scalar(self, x: Array) -> bool:
        return bool(x.shape == ())

    def zeros_like(self, x: Array) -> Array:
        # numpy.zeros_like takes five times as long.
        return np.zeros(x.shape, x.dtype) if type(x) is np.ndarray else np.zeros_like(x)

    def ones_like(self, x: Array) -> Array:
        return np.ones_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        total: Any = 0.0
        for x, y in zip(xs, ys, strict=True):
            total = total + np.real(np.vdot(x, y))
        return total

    def stop_gradient(self, x: Array) -> Array:
        return engine.stop_gradient(_copied(x))

    def is_concrete(self, x: Array) -> bool:
        return not (isinstance(x, TracedArray) or is_lazy(x))

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        taken = set(map(id, inputs))
        foreign: list[Any] = []
        for x in inputs:
            if isinstance(x, np.ndarray) and x.base is not None:
                _follow(x, taken, foreign)
        released: list[Array] = []
        for k, y in enumerate(results):
            if isinstance(y, np.ndarray):
                if y.ndim == 0 and not isinstance(y if like is None else like[k], _ARRAYS):
                    y = y[()]
                elif (
                    y.base is not None
                    or id(y) in taken
                    or not y.flags.writeable
                    or (foreign and any(np.may_share_memory(y, x) for x in foreign))
                ):
                    y = y.copy()
                taken.add(id(y))
            elif like is not None and isinstance(y, np.generic) and isinstance(like[k], np.ndarray):
                y = np.asarray(y)
            elif isinstance(y, TracedArray):
                y = engine.snapshot(y)  # of an outer derivative: `t[0] = 5` must not reach x
            elif not isinstance(y, np.generic) and is_lazy(y):
                y = lazy.released(y, None if like is None else like[k], id(y) in taken)
            released.append(y)
        return released

    def prepare(self, x: Array) -> Array:
        if type(x) is np.ndarray:
            return x if x.dtype.char != "O" else engine.gathered(x)  # numpy.array([x[0], x[1]])
        if type(x) is TracedArray:
            return x
        if isinstance(x, (np.matrix, np.ma.MaskedArray)):
            raise NotDifferentiableError(
                f"a numpy.{type(x).__name__} was given, whose operators mean something else than "
                f"those of arrays; type: np.asarray(it), or it.filled(0.0) for a masked one"
            )
        return lazy.required(x) if is_lazy(x) else x

    # ---------------------------------------------------------------- derivatives

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        # The pullback may outlive the call: what it needs must not be the caller's to write.
        outputs, pullback = engine.vjp(f, [_copied(x) for x in primals])
        results = tuple(_copied(_as_array(y)) for y in outputs)
        return results, lazy.pullback(pullback, results) if lazy.possible() else pullback

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        return engine.value_and_grad(lazy.seeded(f) if lazy.possible() else f, primals)

    def jvp(
        self, f: FlatFunction, primals: Sequence[Array], tangents: Sequence[Array | None]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        outputs, moved = engine.jvp(f, primals, tangents)
        return tuple(_as_array(y) for y in outputs), moved

    def linearize(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], Pushforward]:
        primals = [_copied(x) for x in primals]
        if lazy.possible() or not all(isinstance(x, _PLAIN) for x in primals):
            return super().linearize(f, primals)
        try:
            outputs, push = engine.linearize(f, primals)
        except TracingError:  # a recording takes less than a derivative: f is called again
            return super().linearize(f, primals)

        def pushforward(tangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
            filled = [
                np.zeros_like(x) if t is None else t for t, x in zip(tangents, primals, strict=True)
            ]
            if all(isinstance(t, _PLAIN) for t in filled):
                return tuple(push(filled))
            return super(NumpyBackend, self).linearize(f, primals)[1](filled)

        return tuple(_copied(_as_array(y)) for y in outputs), pushforward

    def jit(self, f: FlatFunction, *, reuse_output: bool = False) -> FlatFunction:
        run = engine.replayed(f, reuse_output=reuse_output)
        return lambda *arrays: tuple(run(*arrays))

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        return engine.custom_vjp(forward, backward, primals)


def _as_array(y: Any) -> Array:
    return y if isinstance(y, NumpyBackend.array_types) else np.asarray(y)


def _copied(x: Array) -> Array:
    return x.copy() if isinstance(x, np.ndarray) or is_lazy(x) else x


def _follow(view: np.ndarray[Any, Any], taken: set[int], foreign: list[Any]) -> None:
    """Take the id of the array whose memory a view shows; where that is unknown, the view.

    An array that is no view shares memory only with its views, whose chain of bases ends there:
    asking NumPy about each pair of arrays takes longer than small derivatives do.
    """
    root: Any = view
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    taken.add(id(root))
    if not isinstance(root, np.ndarray):  # another library's, or a buffer over any memory
        foreign.append(view)


@functools.lru_cache(maxsize=64)
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype.name)
