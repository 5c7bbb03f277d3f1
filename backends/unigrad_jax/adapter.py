"""The JAX adapter. Double precision is switched on locally, where a float64 leaf asks for it.

JAX's gradient by a complex array is the conjugate of steepest ascent; here, as everywhere in
unigrad, it is steepest ascent (S14).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

try:
    from jax import enable_x64
except ImportError:  # before JAX 0.8
    from jax.experimental import enable_x64

from unigrad.backend import Backend, FlatFunction, Pullback, is_complex, is_floating
from unigrad.errors import UnsupportedError
from unigrad.stateless import ModelOptions, StatelessModel
from unigrad_jax import spec
from unigrad_jax.connections import depends
from unigrad_jax.custom import conjugate, pushed_forward
from unigrad_jax.models import functional

__all__ = ["JaxBackend"]

Array = Any
_DOUBLE = ("float64", "complex128")
_WIDE = (*_DOUBLE, "int64", "uint64")


class JaxBackend(Backend):
    """JAX."""

    name = spec.name
    capabilities = spec.capabilities
    array_types = (jax.Array, jax.core.Tracer)

    @property
    def ops(self) -> Mapping[str, Callable[..., Array]]:  # type: ignore[override]
        return _OPS

    @property
    def xp(self) -> Any:
        return jnp

    # ---------------------------------------------------------------- array glue

    def asarray(self, x: Any, *, dtype: str | None = None, like: Array | None = None) -> Array:
        kind = dtype or (str(x.dtype) if isinstance(x, self.array_types) else None)
        if kind is None:
            kind = _narrowed(np.asarray(x))
        with _double([kind], _WIDE) or contextlib.nullcontext():
            return jnp.array(x, dtype=kind, copy=True)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.array(x)

    def dtype(self, x: Array) -> str:
        return str(x.dtype)

    def zeros_like(self, x: Array) -> Array:
        return jnp.zeros_like(x)

    def ones_like(self, x: Array) -> Array:
        return jnp.ones_like(x)

    def inner(self, xs: Sequence[Array], ys: Sequence[Array]) -> Array:
        return sum(jnp.sum(jnp.real(jnp.conj(x) * y)) for x, y in zip(xs, ys, strict=True))

    def stop_gradient(self, x: Array) -> Array:
        return jax.lax.stop_gradient(x)

    def is_concrete(self, x: Array) -> bool:
        return not isinstance(x, jax.core.Tracer)

    def scope(self, leaves: Sequence[Any]) -> contextlib.AbstractContextManager[Any] | None:
        kinds = [str(x.dtype) for x in leaves if isinstance(x, _TYPED)]
        double = _double(kinds)
        if double is not None and any(_is_double_tracer(x) for x in leaves):
            raise UnsupportedError(
                "double precision arrays are inside jax.jit, jax.grad or jax.vmap, which began "
                "with double precision switched off; switch x64 on around it, or use ug.jit"
            )
        return double

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        if like is None:
            return list(results)
        return [_beside(y, x) for y, x in zip(results, like, strict=True)]

    # ---------------------------------------------------------------- derivatives

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        with _mode("reverse"):
            outputs, pull = jax.vjp(f, *primals)

        def pullback(cotangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
            given = tuple(_cotangent(y, c) for y, c in zip(outputs, cotangents, strict=True))
            return tuple(conjugate(g) for g in pull(given))

        return outputs, pullback

    def jvp(
        self, f: FlatFunction, primals: Sequence[Array], tangents: Sequence[Array | None]
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        moved = [
            jnp.zeros_like(x) if t is None else t for x, t in zip(primals, tangents, strict=True)
        ]
        with _mode("forward"):
            outputs, out = jax.jvp(f, tuple(primals), tuple(moved))
        return outputs, tuple(None if t.dtype == jax.dtypes.float0 else t for t in out)

    def batched_pullback(
        self, pullback: Pullback, cotangents: Sequence[Array | None], rows: int
    ) -> list[Array | None]:
        given = [i for i, c in enumerate(cotangents) if c is not None]

        def pull(*units: Array) -> tuple[Array | None, ...]:
            full: list[Array | None] = [None] * len(cotangents)
            for i, u in zip(given, units, strict=True):
                full[i] = u
            return pullback(full)

        return list(jax.vmap(pull)(*[cotangents[i] for i in given]))

    def connected(self, pullback: Pullback, cotangents: Sequence[Array | None]) -> list[bool]:
        given = [i for i, c in enumerate(cotangents) if c is not None]

        def pull(*units: Array) -> tuple[Array | None, ...]:
            full: list[Array | None] = [None] * len(cotangents)
            for i, u in zip(given, units, strict=True):
                full[i] = u
            return pullback(full)

        return depends(pull, [cotangents[i] for i in given])

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
        backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
        primals: Sequence[Array],
    ) -> tuple[Array, ...]:
        if _innermost.get() == "forward":
            return pushed_forward(forward, backward, primals)

        @jax.custom_vjp
        def rule(*xs: Array) -> tuple[Array, ...]:
            return forward(*xs)[0]

        def pulled(
            residuals: tuple[Array, ...], cotangents: tuple[Array, ...]
        ) -> tuple[Array | None, ...]:
            grads = backward(residuals, [conjugate(c) for c in cotangents])
            return tuple(None if g is None else conjugate(g) for g in grads)

        rule.defvjp(forward, pulled)
        outputs: tuple[Array, ...] = rule(*primals)
        return outputs

    # ---------------------------------------------------------------- more than derivatives

    def jit(self, f: FlatFunction, *, reuse_output: bool = False) -> FlatFunction:
        compiled: FlatFunction = jax.jit(f)
        return compiled

    def functional(self, model: Any, options: ModelOptions) -> StatelessModel | None:
        return functional(model, options, self)


_TYPED = (jax.Array, jax.core.Tracer, np.ndarray, np.generic)


def _double(
    kinds: Sequence[str], wide: tuple[str, ...] = _DOUBLE
) -> contextlib.AbstractContextManager[Any] | None:
    if jax.config.jax_enable_x64 or not any(k in wide for k in kinds):
        return None
    scope: contextlib.AbstractContextManager[Any] = enable_x64(True)
    return scope


_innermost: ContextVar[str | None] = ContextVar("unigrad_jax_mode", default=None)


@contextlib.contextmanager
def _mode(name: str) -> Iterator[None]:
    """Note the innermost derivative: JAX has no rule that serves both modes."""
    token = _innermost.set(name)
    try:
        yield
    finally:
        _innermost.reset(token)


def _is_double_tracer(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer) and x.dtype.name in _DOUBLE


def _narrowed(x: np.ndarray[Any, Any]) -> str:
    """The dtype in which JAX takes NumPy's data: 32-bit integers, unless x64 is switched on."""
    kind: str = x.dtype.name
    if jax.config.jax_enable_x64 or kind not in ("int64", "uint64"):
        return kind
    narrow = kind.replace("64", "32")
    bounds = np.iinfo(narrow)
    fits = x.size == 0 or (bounds.min <= x.min() and x.max() <= bounds.max)
    return narrow if fits else kind


def _beside(y: Array, x: Any) -> Array:
    """``y`` where ``x`` is: zeros of an unconnected leaf are made on the default device."""
    if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array):
        return y
    if isinstance(y, jax.core.Tracer) or y.sharding.device_set == x.sharding.device_set:
        return y
    return jax.device_put(y, x.sharding)


def _cotangent(output: Array, cotangent: Array | None) -> Array:
    kind = str(output.dtype)
    if not (is_floating(kind) or is_complex(kind)):
        return np.zeros(output.shape, jax.dtypes.float0)
    return jnp.zeros_like(output) if cotangent is None else conjugate(cotangent)


def _conv2d(x: Array, w: Array, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    (top, left) = padding
    return jax.lax.conv_general_dilated(
        x, w, stride, [(top, top), (left, left)], dimension_numbers=("NCHW", "OIHW", "NCHW")
    )


_OPS: Mapping[str, Callable[..., Array]] = MappingProxyType({"conv2d": _conv2d})
