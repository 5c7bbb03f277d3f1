"""Classification losses from logits, which refuse shapes that would broadcast by accident."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from unigrad.backend import Array, Backend
from unigrad.errors import ShapeError
from unigrad.ops.activations import log_tail
from unigrad.ops.operands import (
    INTEGER,
    check_range,
    choice,
    indices,
    kind,
    of_dtype,
    one_axis,
    operands,
)
from unigrad.ops.reductions import log_probabilities
from unigrad.ops.selection import hits

__all__ = ["Reduction", "binary_cross_entropy", "cross_entropy"]

Reduction: TypeAlias = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Any, labels: Any, *, axis: int = -1, reduction: Reduction = "mean"
) -> Array:
    """Cross-entropy ``-Σ_c p_c log softmax(logits)_c``, from logits.

    Args:
        logits: of any shape; the classes lie along ``axis``.
        labels: class indices, integers of the shape of logits without ``axis``; or probabilities
            p, of the shape of logits.
        reduction: ``"mean"`` or ``"sum"`` over all examples, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` the shape of logits without ``axis``.

    Raises:
        ShapeError: for labels of any other shape, and for indices out of range where they can be
            looked at (elsewhere they give a loss of 0).

    >>> import numpy as np, unigrad as ug
    >>> loss = lambda logits: ug.ops.cross_entropy(logits, np.array([0]))
    >>> print(ug.grad(loss)(np.array([[0.0, 0.0]])))
    [[-0.5  0.5]]
    """
    choice("reduction", reduction, ("mean", "sum", "none"))
    with operands(logits, beside=(labels,)) as (backend, logits):
        xp = backend.xp
        shape = backend.shape(logits)
        a = one_axis(axis, len(shape))
        log_p = log_probabilities(backend, logits, (a,))
        if _is_integer(backend, labels):
            index = indices(backend, labels, "labels", like=logits)
            expected = shape[:a] + shape[a + 1 :]
            if backend.shape(index) != expected:
                raise ShapeError(_labels_message(shape, backend.shape(index), expected))
            check_range(backend, index, 0, shape[a], "labels")
            # Selected, not multiplied: a logit of -inf elsewhere must not give 0 · inf.
            hit = hits(xp, index, shape[a], a)
            terms = xp.where(hit, log_p, xp.zeros_like(log_p))
        else:
            with operands(labels, logits, real=True) as (_, p, _like):
                if backend.shape(p) != shape:
                    expected = shape[:a] + shape[a + 1 :]
                    raise ShapeError(_labels_message(shape, backend.shape(p), expected))
                absent = xp.logical_and(p == 0, log_p == float("-inf"))
                terms = p * xp.where(absent, xp.zeros_like(log_p), log_p)
        return _reduced(backend, -xp.sum(terms, axis=a), reduction)


def _is_integer(backend: Backend, labels: Any) -> bool:
    if isinstance(labels, backend.array_types):
        return kind(backend, labels) == INTEGER
    return kind(backend, backend.asarray(labels)) == INTEGER


def _labels_message(shape: tuple[int, ...], got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    advice = "xp.squeeze(labels, axis=...)" if len(got) == len(shape) else "labels of that shape"
    return (
        f"cross_entropy of logits of the shape {shape} takes integer labels of the shape "
        f"{expected} or probabilities of the shape {shape}, got labels of the shape {got}; "
        f"type: {advice}"
    )


def binary_cross_entropy(logits: Any, targets: Any, *, reduction: Reduction = "mean") -> Array:
    """Binary cross-entropy ``-t log σ(x) - (1 - t) log σ(-x)``, from logits x.

    Args:
        logits, targets: of one shape; targets are probabilities in 0 ... 1.
        reduction: ``"mean"`` or ``"sum"`` over all entries, or ``"none"``.

    Raises:
        ShapeError: if the shapes differ; they are never broadcast.

    >>> import numpy as np, unigrad as ug
    >>> loss = lambda x: ug.ops.binary_cross_entropy(x, np.array([1.0, 0.0]), reduction="sum")
    >>> print(ug.grad(loss)(np.array([0.0, 0.0])))
    [-0.5  0.5]
    """
    choice("reduction", reduction, ("mean", "sum", "none"))
    with operands(logits, targets, real=True) as (backend, x, t):
        xp = backend.xp
        if backend.shape(x) != backend.shape(t):
            raise ShapeError(
                f"binary_cross_entropy takes logits and targets of one shape, got "
                f"{backend.shape(x)} and {backend.shape(t)}; "
                f"type: xp.reshape(targets, {backend.shape(x)})"
            )
        # Each side of the loss is small where it should be, so that nothing cancels.
        positive = x >= 0
        zeros = xp.zeros_like(x)
        wrong = xp.where(positive, (1 - t) * xp.where(positive, x, zeros), -t * x)
        loss = of_dtype(backend, wrong + log_tail(xp, x, positive), x)
        return _reduced(backend, loss, reduction)


def _reduced(backend: Backend, losses: Array, reduction: Reduction) -> Array:
    if reduction == "none" or len(losses.shape) == 0:
        return losses
    return backend.xp.mean(losses) if reduction == "mean" else backend.xp.sum(losses)
