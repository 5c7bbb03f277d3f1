"""The pieces that layers are made of: one array and one role, and how it is turned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from unigrad.layouts.layer import Part

__all__ = ["Turn", "gate", "inverse", "matrix", "moved", "one", "same", "stated"]

Turn: TypeAlias = "Callable[[Any], Any]"


def one(role: str, name: str | None, read: Turn, write: Turn) -> list[Part]:
    """The part of one array and one role; none where the layer has no such array."""
    if name is None:
        return []
    return [Part((name,), (role,), lambda x: (read(x),), lambda x: (write(x),))]


def same(role: str, name: str | None) -> list[Part]:
    """The part of an array that is canonical as it is."""
    return one(role, name, lambda x: x, lambda x: x)


def moved(role: str, name: str, axes: tuple[int, ...]) -> list[Part]:
    """The part of an array whose permutation by ``axes`` is canonical."""
    back = inverse(axes)
    return one(role, name, lambda x: np.transpose(x, axes), lambda x: np.transpose(x, back))


def matrix(role: str, name: str, transposed: bool) -> list[Part]:
    """The part of a matrix, canonical or transposed."""
    return moved(role, name, (1, 0)) if transposed else same(role, name)


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes ``axes``."""
    return tuple(axes.index(i) for i in range(len(axes)))


def gate(x: Any, k: int, count: int) -> Any:
    """The ``k``-th of ``count`` equal blocks along the first axis."""
    size = x.shape[0] // count
    return x[k * size : (k + 1) * size]


def stated(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that the framework states."""
    return {name: fact for name, fact in facts.items() if fact is not None}
