"""Arrays in and out of a backend, whole trees at a time, and the namespace to compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Array, Backend
from unigrad.registry import NEUTRAL_TYPES, backend_of, get_backend, owner

__all__ = ["array_namespace", "asarray", "is_array", "move", "to_numpy"]


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or a number, and not, say, a string."""
    return isinstance(leaf, NEUTRAL_TYPES) or owner(type(leaf)) is not None


def move(leaf: Any, backend: Backend) -> Array:
    """One leaf as an array of ``backend``, by way of NumPy if it is another framework's."""
    current = owner(type(leaf))
    if current is not None and not isinstance(leaf, backend.array_types):
        leaf = current.to_numpy(leaf)
    # Said by name, the dtype is kept even where the framework would narrow it (JAX: int64).
    kind = leaf.dtype.name if isinstance(leaf, np.ndarray | np.generic) else None
    scope = backend.scope([leaf])
    if scope is None:
        return backend.asarray(leaf, dtype=kind)
    with scope:
        return backend.asarray(leaf, dtype=kind)


def asarray(tree: Any, *, backend: str | Backend | None = None) -> Any:
    """The tree with every array and number copied to one backend, dtypes kept.

    Args:
        tree: arrays of any framework, numbers, and leaves that are neither, which stay.
        backend: where to; by default where a call with this tree would run (S11).

    Raises:
        MixedBackendError: without ``backend``, if the tree holds arrays of two frameworks.
        BackendNotAvailableError: if the backend is not installed.

    >>> import numpy as np, unigrad as ug
    >>> ug.asarray({"w": np.ones(2), "name": "layer"}, backend="numpy")
    {'w': array([1., 1.]), 'name': 'layer'}
    """
    leaves, treedef = trees.flatten(tree)
    target = backend_of(leaves) if backend is None else get_backend(backend)
    return trees.unflatten(treedef, [move(x, target) if is_array(x) else x for x in leaves])


def to_numpy(tree: Any) -> Any:
    """The tree with every array and number as a NumPy array of the same dtype.

    >>> import unigrad as ug
    >>> ug.to_numpy((1.5, None))
    (array(1.5), None)
    """

    def convert(leaf: Any) -> Any:
        backend = owner(type(leaf))
        if backend is not None:
            return backend.to_numpy(leaf)
        return np.array(leaf) if isinstance(leaf, NEUTRAL_TYPES) else leaf

    return trees.map_leaves(convert, tree)


def array_namespace(*arrays: Array, backend: str | Backend | None = None) -> Any:
    """The namespace, following the array API standard, for these arrays.

    Raises:
        MixedBackendError: if they are of two frameworks.

    >>> import numpy as np, unigrad as ug
    >>> xp = ug.array_namespace(np.ones(3))
    >>> print(xp.sum(xp.ones(3)))
    3.0
    """
    return backend_of(arrays, backend).xp
