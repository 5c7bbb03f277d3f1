"""The adapter of NumPy: the engine's primitives, and results that share no memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad import engine
from unigrad.backend import Array, Backend, FlatFunction, Pullback
from unigrad.engine import TracedArray
from unigrad.errors import NotDifferentiableError
from unigrad_numpy import namespace, spec

__all__ = ["NumpyBackend"]


class NumpyBackend(Backend):
    """Arrays are ``numpy.ndarray``, NumPy's scalars, and the engine's traced arrays."""

    name = "numpy"
    capabilities = spec.capabilities
    array_types = (np.ndarray, np.generic, TracedArray)

    @property
    def xp(self) -> Any:
        return namespace

    # ---------------------------------------------------------------- array glue

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        if isinstance(x, TracedArray):
            return x.copy() if dtype is None else x.astype(dtype)
        if isinstance(x, np.ndarray) or not np.isscalar(x):
            return np.array(x, dtype=dtype)
        return np.asarray(x, dtype=dtype)[()]  # a number stays a number: `x += 1` binds x anew

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def dtype(self, x: Array) -> str:
        return str(x.dtype.name)

    def zeros_like(self, x: Array) -> Array:
        return np.zeros_like(x)

    def ones_like(self, x: Array) -> Array:
        return np.ones_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        total: Any = 0.0
        for x, y in zip(xs, ys, strict=True):
            total = total + np.real(np.vdot(x, y))
        return total

    def stop_gradient(self, x: Array) -> Array:
        return engine.stop_gradient(x)

    def is_concrete(self, x: Array) -> bool:
        return not isinstance(x, TracedArray)

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        others = [x for x in inputs if isinstance(x, np.ndarray)]
        released: list[Array] = []
        for k, result in enumerate(results):
            leaf = result if like is None else like[k]
            if isinstance(result, np.generic) and isinstance(leaf, np.ndarray):
                result = np.asarray(result)
            elif isinstance(result, np.ndarray):
                if result.shape == () and not isinstance(leaf, (np.ndarray, TracedArray)):
                    result = result[()]
                else:
                    result = _owned(result, others)
                    others.append(result)
            released.append(result)
        return released

    def prepare(self, x: Array) -> Array:
        if isinstance(x, (np.matrix, np.ma.MaskedArray)):
            raise NotDifferentiableError(
                f"a numpy.{type(x).__name__} was given, whose operators mean something else than "
                f"those of arrays; type: np.asarray(it), or it.filled(0.0) for a masked one"
            )
        return x

    # ---------------------------------------------------------------- derivatives

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        # The pullback may outlive the call: what it needs must not be the caller's to write.
        outputs, pullback = engine.vjp(f, [_copied(x) for x in primals])
        return tuple(_copied(_as_array(y)) for y in outputs), pullback

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        outputs, pullback = engine.vjp(f, primals)
        outputs = tuple(_as_array(y) for y in outputs)
        one = np.ones((), dtype=outputs[0].dtype)[()]
        return outputs, pullback([one, *[None] * (len(outputs) - 1)])

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
    return x.copy() if isinstance(x, np.ndarray) else x


def _owned(x: np.ndarray[Any, Any], others: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The array, copied where it is a view, or could share memory with others."""
    if x.base is not None or not x.flags.writeable:
        return x.copy()
    return x.copy() if any(np.may_share_memory(x, y) for y in others) else x
