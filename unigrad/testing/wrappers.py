"""Adapters made of adapters: `FromPrimitives` tests the derived path, `Null` measures overhead."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from unigrad.backend import Array, Backend, Capabilities, FlatFunction, Pullback
from unigrad.registry import get_backend

__all__ = ["FromPrimitives", "Null", "Wrapper"]


class Wrapper(Backend):
    """An adapter that hands array glue and primitives on to another. Subclass it to change one.

    Pass it as ``backend=``: arrays alone still select the adapter inside.
    """

    name = "wrapper"

    def __init__(self, inner: str | Backend) -> None:
        self.inner_backend = get_backend(inner)
        self.array_types = self.inner_backend.array_types
        self.declare(f"{self.inner_backend.name} in a {type(self).__name__}", native=frozenset())

    def declare(self, name: str, **capabilities: Any) -> None:
        """Take this name, and the capabilities of the adapter inside with these changed."""
        # Class variables of an adapter; a wrapper has its own in each instance.
        vars(self)["name"] = name
        vars(self)["capabilities"] = dataclasses.replace(
            self.inner_backend.capabilities, **capabilities
        )

    @property
    def xp(self) -> Any:
        return self.inner_backend.xp

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        return self.inner_backend.asarray(x, dtype=dtype, like=like)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return self.inner_backend.to_numpy(x)

    def dtype(self, x: Array) -> str:
        return self.inner_backend.dtype(x)

    def zeros_like(self, x: Array) -> Array:
        return self.inner_backend.zeros_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        return self.inner_backend.inner(xs, ys)

    def stop_gradient(self, x: Array) -> Array:
        return self.inner_backend.stop_gradient(x)

    def shape(self, x: Array) -> tuple[int, ...]:
        return self.inner_backend.shape(x)

    def is_scalar(self, x: Array) -> bool:
        return self.inner_backend.is_scalar(x)

    def is_concrete(self, x: Array) -> bool:
        return self.inner_backend.is_concrete(x)

    def prepare(self, x: Array) -> Array:
        return self.inner_backend.prepare(x)

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        return self.inner_backend.release(results, inputs, like)

    def scope(self, leaves: Sequence[Any]) -> contextlib.AbstractContextManager[Any] | None:
        return self.inner_backend.scope(leaves)

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        return self.inner_backend.vjp(f, primals)

    def connected(self, pullback: Pullback, cotangents: Sequence[Array | None]) -> list[bool]:
        return self.inner_backend.connected(pullback, cotangents)

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        return self.inner_backend.custom_vjp(forward, backward, primals)

    def jit(
        self, f: FlatFunction, *, reuse_output: bool = False
    ) -> Callable[..., tuple[Array, ...] | None]:
        return self.inner_backend.jit(f, reuse_output=reuse_output)


class FromPrimitives(Wrapper):
    """An adapter with every optional override hidden, so that what is derived is run.

    >>> import numpy as np, unigrad as ug
    >>> from unigrad.testing import FromPrimitives
    >>> derived = FromPrimitives("numpy")
    >>> print(derived.name, ug.hvp(lambda x: x**3, np.array(2.0), 1.0, backend=derived))
    numpy from primitives 12.0
    """

    def __init__(self, inner: str | Backend) -> None:
        super().__init__(inner)
        self.declare(
            f"{self.inner_backend.name} from primitives",
            native=frozenset(),
            hvp="reverse_over_reverse",
            jit=False,
            models=False,
        )


class Null(Backend):
    """An adapter over NumPy whose derivatives are the primals themselves: wrong, and free.

    What an operator costs on it is unigrad's own overhead.

    >>> import numpy as np, unigrad as ug
    >>> from unigrad.testing import Null
    >>> print(ug.grad(lambda x: x[0], backend=Null())(np.array([3.0, 4.0])))
    [3. 4.]
    """

    name = "null"
    capabilities = Capabilities(jit=False, models=False)
    array_types = (np.ndarray, np.generic)

    @property
    def xp(self) -> Any:
        return numpy_namespace

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        return np.array(x, dtype=dtype)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def dtype(self, x: Array) -> str:
        return _name(x.dtype)

    def zeros_like(self, x: Array) -> Array:
        return np.zeros_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        return sum(np.sum(np.conj(x) * y).real for x, y in zip(xs, ys, strict=True))

    def stop_gradient(self, x: Array) -> Array:
        return x

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        kept = tuple(primals)
        return f(*kept), lambda cotangents: kept

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        return f(*primals), tuple(primals)

    def jvp(
        self, f: FlatFunction, primals: Sequence[Array], tangents: Sequence[Array | None]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        outputs = f(*primals)
        return outputs, outputs


@functools.lru_cache(maxsize=64)
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype.name)
