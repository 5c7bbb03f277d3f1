"""One gradient for each example of a batch, exact whether or not the examples interact.

If they do not, the gradient of the sum holds all of them, in one pullback. Whether they do is
measured, not assumed: with cotangents ``r`` in place of ones, independent examples scale by
``r``, example by example. Otherwise each example gets a pullback of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrad.backend import Array, Backend, Pullback, is_complex

if TYPE_CHECKING:
    from unigrad.operators.evaluation import Evaluation

__all__ = ["example_gradients"]


def example_gradients(
    call: Evaluation, pullback: Pullback, outputs: Sequence[Array]
) -> list[Array | None]:
    """For each primal, row ``i``: the derivative of value ``i`` by its row ``i``.

    Args:
        outputs: the values, shape ``(N,)``, and the arrays of aux.
    """
    backend = call.backend
    n = backend.shape(outputs[0])[0]
    rest: list[Array | None] = [None] * (len(outputs) - 1)
    ones = backend.ones_like(outputs[0])
    summed = list(pullback([ones, *rest]))
    if n <= 1:
        return summed
    if all(g is None or backend.is_concrete(g) for g in summed):
        weights = 1 + np.random.default_rng(0).permutation(n) / n
        row_weights = backend.asarray(weights, dtype=backend.dtype(outputs[0]), like=outputs[0])
        weighted = pullback([row_weights, *rest])
        if _independent(backend, summed, weighted, backend.to_numpy(row_weights)):
            return summed
    return _one_by_one(backend, pullback, ones, rest)


def _independent(
    backend: Backend,
    summed: Sequence[Array | None],
    weighted: Sequence[Array | None],
    weights: np.ndarray[Any, Any],
) -> bool:
    for total, other in zip(summed, weighted, strict=True):
        if total is None or other is None:
            continue
        kind = np.complex128 if is_complex(backend.dtype(total)) else np.float64
        g = backend.to_numpy(total).astype(kind)
        scaled = g * weights.astype(np.float64).reshape(-1, *[1] * (g.ndim - 1))
        gap = np.abs(backend.to_numpy(other).astype(kind) - scaled)
        size = np.max(np.abs(scaled), axis=tuple(range(1, g.ndim)), keepdims=True, initial=0.0)
        if not np.all(gap <= 64 * np.finfo(weights.dtype).eps * size):
            return False
    return True


def _one_by_one(
    backend: Backend, pullback: Pullback, ones: Array, rest: Sequence[Array | None]
) -> list[Array | None]:
    n = backend.shape(ones)[0]
    units = backend.asarray(np.eye(n), dtype=backend.dtype(ones), like=ones)
    rows = [pullback([units[i], *rest]) for i in range(n)]
    found: list[Array | None] = []
    for column in zip(*rows, strict=True):
        known = next((g for g in column if g is not None), None)
        if known is None:
            found.append(None)
            continue
        zeros = backend.zeros_like(known)
        own = [(zeros if g is None else g)[i] for i, g in enumerate(column)]
        found.append(backend.xp.stack(own, axis=0))
    return found
