"""Directions, tangents and cotangents: they match what they belong to, leaf by leaf (S15)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unigrad import trees
from unigrad.backend import Array, Backend
from unigrad.errors import MixedBackendError, ShapeError, StructureError
from unigrad.registry import NEUTRAL_TYPES, owner

__all__ = ["described", "matched", "structured"]


def structured(tree: Any, template: Any, role: str, hint: str = "") -> list[Any]:
    """The leaves of ``tree``, which must have the structure of ``template`` (S15)."""
    leaves, treedef = trees.flatten(tree)
    _, wanted = trees.flatten(template)
    if treedef != wanted:
        raise StructureError(
            f"{role} must have the structure of what it belongs to, {described(template)}, "
            f"got {described(tree)}{hint}"
        )
    return leaves


def matched(
    backend: Backend,
    leaves: Sequence[Any],
    primals: Sequence[Array],
    names: Callable[[], list[str]],
    role: str,
) -> list[Array]:
    """The leaves of a direction as arrays of the backend, equal in shape and dtype (S15)."""
    found: list[Array] = []
    for leaf, x in zip(leaves, primals, strict=True):
        kind = backend.dtype(x)
        if type(leaf) in (int, float):
            y = backend.asarray(leaf, dtype=kind, like=x)
        elif isinstance(leaf, backend.array_types):
            y = backend.prepare(leaf)
        elif isinstance(leaf, NEUTRAL_TYPES):
            y = backend.asarray(leaf, like=x)
        else:
            other = owner(type(leaf))
            text = type(leaf).__name__ if other is None else f"an array of {other.name}"
            raise MixedBackendError(
                f"{role} of {names()[len(found)]} must be an array of {backend.name}, got {text}"
            )
        if backend.dtype(y) != kind or not backend.same_shape(x, y):
            name = names()[len(found)]
            raise ShapeError(
                f"{role} of {name} must have shape {backend.shape(x)} and dtype {kind}, "
                f"got shape {backend.shape(y)} and dtype {backend.dtype(y)}"
            )
        found.append(y)
    return found


def described(tree: Any) -> str:
    """The structure of a tree in a few words."""
    if isinstance(tree, tuple):
        entries = ", ".join(described(entry) for entry in tree)
        return f"a tuple of {len(tree)}" + (f" ({entries})" if 0 < len(tree) <= 4 else "")
    if isinstance(tree, list):
        return f"a list of {len(tree)}"
    if isinstance(tree, dict):
        return f"a dict with keys {sorted(map(repr, tree))}"
    return "None" if tree is None else f"one {type(tree).__name__}"
