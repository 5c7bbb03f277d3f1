"""Choosing entries: branches without a NaN from the branch not taken, and lookups by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.backend import Array
from unigrad.errors import ArgumentError, ShapeError
from unigrad.ops.operands import BOOLEAN, check_range, choice, indices, kind, one_axis, operands

__all__ = ["one_hot", "take_along_axis", "where"]


def where(condition: Any, x: Any, y: Any, *operands_: Any, safe: float = 1.0) -> Array:
    """``x`` where the condition holds, else ``y``, elementwise with broadcasting.

    Args:
        condition: an array of booleans; it has no derivative.
        x, y: arrays, numbers, or functions of the operands. A function sees ``safe`` in place of
            the operands where its branch is not taken, so that it may be undefined there: value
            and derivatives at every order come from the branch that is taken alone.
        safe: a point at which both functions are defined.

    Raises:
        ArgumentError: for a condition that is not boolean, or a function without operands.

    >>> import numpy as np, unigrad as ug
    >>> f = lambda x: ug.ops.where(x > 0, np.log, 0.0, x)
    >>> print(ug.grad(f)(np.array(2.0)), ug.grad(f)(np.array(0.0)))
    0.5 0.0
    """
    functions = callable(x), callable(y)
    if any(functions) and not operands_:
        raise ArgumentError(
            "ops.where got a function but no operands to call it with; "
            "type: ops.where(x > 0, xp.log, 0.0, x)"
        )
    given = [b for b, function in zip((x, y), functions, strict=True) if not function]
    beside = (condition, *given)
    with operands(*operands_, beside=beside, promote=False) as (backend, *inputs):
        xp = backend.xp
        if not isinstance(condition, backend.array_types):
            like = next((a for a in (*inputs, *given) if isinstance(a, backend.array_types)), None)
            condition = backend.asarray(condition, like=like)
        if kind(backend, condition) != BOOLEAN:
            raise ArgumentError(
                f"the condition of ops.where is boolean, got {backend.dtype(condition)}; "
                f"type: condition != 0"
            )

        def branch(function: Any, taken: Array) -> Any:
            return function(*[xp.where(taken, a, xp.full_like(a, safe)) for a in inputs])

        first = branch(x, condition) if functions[0] else x
        second = branch(y, xp.logical_not(condition)) if functions[1] else y
        with operands(first, second, beside=(condition, *inputs)) as (_, first, second):
            return xp.where(condition, first, second)


def one_hot(labels: Any, classes: int, *, axis: int = -1, dtype: str = "float32") -> Array:
    """Unit vectors: 1 where the position along a new axis equals the label, 0 elsewhere.

    Args:
        labels: integers in ``0 ... classes - 1``, of any shape.
        axis: where the new axis of length ``classes`` goes in the result.
        dtype: the result's, named as in NumPy.

    Raises:
        ArgumentError: for labels that are not integers.
        ShapeError: for labels out of range. While a function is being compiled they cannot be
            looked at, and give rows of zeros.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.ops.one_hot(np.array([2, 0]), 3))
    [[0. 0. 1.]
     [1. 0. 0.]]
    """
    choice("dtype", dtype, ("float32", "float64", "int32", "int64", "bool"))
    with operands(beside=(labels, np.empty(0, dtype))) as (backend,):
        xp = backend.xp
        labels = indices(backend, labels, "labels")
        check_range(backend, labels, 0, classes, "labels")
        hit = hits(xp, labels, classes, one_axis(axis, len(labels.shape) + 1))
        return xp.astype(hit, getattr(xp, dtype))


def hits(xp: Any, labels: Array, classes: int, axis: int) -> Array:
    """Booleans: whether the position along a new axis equals the label."""
    positions = xp.astype(xp.arange(classes), labels.dtype)
    after = len(labels.shape) - axis
    positions = xp.reshape(positions, (classes, *(1,) * after))
    return xp.expand_dims(labels, axis=axis) == positions


def take_along_axis(x: Any, indices_: Any, axis: int = -1) -> Array:
    """``x[i, ..., indices[i, ..., k], ...]``: one lookup along an axis for each position.

    Args:
        indices_: integers of as many axes as x, and of the same lengths but along ``axis``;
            negative ones count from the end. Cotangents of repeated indices add up.

    Raises:
        ArgumentError: for indices that are not integers.
        ShapeError: for other shapes, and for indices out of range where they can be looked at.

    >>> import numpy as np, unigrad as ug
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> print(ug.ops.take_along_axis(x, np.array([[1], [0]])))
    [[2.]
     [3.]]
    """
    with operands(x, beside=(indices_,)) as (backend, x):
        xp = backend.xp
        index = indices(backend, indices_, "indices", like=x)
        shape, wanted = backend.shape(x), backend.shape(index)
        a = one_axis(axis, len(shape))
        if len(shape) != len(wanted) or any(
            m != n for i, (m, n) in enumerate(zip(shape, wanted, strict=True)) if i != a
        ):
            raise ShapeError(
                f"take_along_axis over axis {axis} of the shape {shape} needs indices of the same "
                f"shape but for that axis, got {wanted}; type: xp.expand_dims(indices, axis=...)"
            )
        check_range(backend, index, -shape[a], shape[a], "indices")
        index = xp.where(index < 0, index + shape[a], index)
        return xp.take_along_axis(x, index, axis=a)
