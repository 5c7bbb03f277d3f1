"""User-written reverse rules in forward mode, where ``jax.custom_vjp`` cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["conjugate", "pushed_forward"]

Array = Any


def conjugate(x: Array) -> Array:
    """The conjugate; of a real array, itself."""
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


def pushed_forward(
    forward: Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]],
    backward: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array | None]],
    primals: Sequence[Array],
) -> tuple[Array, ...]:
    """Outputs of ``forward``; their tangents are the transpose of the backward rule."""

    @jax.custom_jvp
    def rule(*xs: Array) -> tuple[Array, ...]:
        return forward(*xs)[0]

    def push(
        xs: tuple[Array, ...], tangents: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        outputs, residuals = forward(*xs)

        def pull(*cotangents: Array) -> tuple[Array, ...]:
            grads = backward(residuals, [conjugate(c) for c in cotangents])
            pairs = zip(xs, grads, strict=True)
            return tuple(jnp.zeros_like(x) if g is None else conjugate(g) for x, g in pairs)

        return outputs, jax.linear_transpose(pull, *outputs)(tangents)

    rule.defjvp(push)
    results: tuple[Array, ...] = rule(*primals)
    return results
