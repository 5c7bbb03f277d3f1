"""One evaluation of a user's function: trees become flat arrays here, and nowhere else.

An `Evaluation` knows the backend of a call (S10, S11), the leaves that are differentiated
(S4), how to run the function on flat arrays, and how results go back into the user's trees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from unigrad import trees
from unigrad.backend import Array, Backend, is_complex, is_floating
from unigrad.errors import (
    ArgumentError,
    MixedBackendError,
    NotDifferentiableError,
    ScalarOutputError,
    ShapeError,
    StructureError,
)
from unigrad.operators.arguments import Selection
from unigrad.registry import NEUTRAL_TYPES, backend_of, owner

__all__ = ["Evaluation", "Reduce"]

Reduce: TypeAlias = Literal["sum", "mean"] | None
_NOTHING = contextlib.nullcontext()


class Evaluation:
    """``f`` at a point, ready for a backend.

    Attributes:
        backend: where the work is done.
        primals: the differentiated leaves, as arrays of the backend.
        leaves: the same leaves as the user gave them.
    """

    def __init__(
        self,
        selection: Selection,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        has_aux: bool = False,
        reduce: Reduce = None,
        backend: str | Backend | None = None,
    ) -> None:
        if reduce not in (None, "sum", "mean"):
            raise ArgumentError(f"reduce is 'sum', 'mean' or None, got {reduce!r}")
        self.selection = selection
        self.has_aux = has_aux
        self.reduce = reduce
        self.places = selection.locate(args, kwargs)
        self._args = list(args)
        self._kwargs = dict(kwargs)
        chosen = [self._at(place) for place in self.places]
        self._tree = chosen[0] if selection.single else tuple(chosen)
        leaves, self._treedef = _taken_apart(self._tree)
        beside = self._beside()
        self.backend = backend_of([*leaves, *beside], backend, self._all_names)
        self.leaves = _typed(leaves, self.backend)
        self._output: trees.TreeDef | None = None
        self._aux: _Parts | None = None
        self._every = [*self.leaves, *beside]
        with self.scope():
            self.primals = [self._primal(i) for i in range(len(self.leaves))]
            if self.backend.name != "numpy":
                self._move_data()

    # ---------------------------------------------------------------- the arguments

    def _at(self, place: int | str) -> Any:
        return self._args[place] if isinstance(place, int) else self._kwargs[place]

    def _others(self) -> list[int | str]:
        """Places of the arguments that are not differentiated."""
        every = [*range(len(self._args)), *self._kwargs]
        return [place for place in every if place not in self.places]

    def _beside(self) -> list[Any]:
        return [x for place in self._others() for x in _taken_apart(self._at(place))[0]]

    def names(self, places: Sequence[int | str] | None = None) -> list[str]:
        """How the user would write each leaf, by default each differentiated one."""
        places = self.places if places is None else places
        return trees.names([self.selection.title(p) for p in places], [self._at(p) for p in places])

    def _all_names(self) -> list[str]:
        return self.names() + self.names(self._others())

    def _primal(self, index: int) -> Array:
        leaf = self.leaves[index]
        if isinstance(leaf, self.backend.array_types):
            kind = self.backend.dtype(leaf)
            if is_floating(kind) or is_complex(kind):
                return self.backend.prepare(leaf)
        elif isinstance(leaf, NEUTRAL_TYPES):
            kind = type(leaf).__name__ if isinstance(leaf, int) else np.asarray(leaf).dtype.name
            if is_floating(kind) or is_complex(kind):
                return self.backend.asarray(leaf)
        else:
            kind = type(leaf).__name__
        name = self.names()[index]
        hint = (
            f"make {name} floating, for instance 1.0 instead of 1"
            if kind.startswith(("int", "uint", "bool"))
            else "pass an array or a float, or leave this argument out of argnums"
        )
        raise NotDifferentiableError(
            f"{name} is to be differentiated, but it is of type {kind}; {hint}"
        )

    def _move_data(self) -> None:
        """NumPy arrays beside the differentiated arguments go where these are (S10)."""

        def moved(leaf: Any) -> Any:
            plain = type(leaf) is np.ndarray and leaf.dtype.kind in "biufc"
            return self.backend.asarray(leaf) if plain else leaf

        for place in self._others():
            value = self._at(place)
            leaves, treedef = _taken_apart(value)
            if not any(type(leaf) is np.ndarray for leaf in leaves):
                continue
            new = [moved(leaf) for leaf in leaves]
            value = new[0] if treedef is None else trees.unflatten(treedef, new)
            if isinstance(place, int):
                self._args[place] = value
            else:
                self._kwargs[place] = value

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """What the backend wants around everything that concerns this call."""
        return self.backend.scope(self._every) or _NOTHING

    # ---------------------------------------------------------------- the function, flat

    def _run(self, xs: Sequence[Array]) -> Any:
        """The user's function, called with ``xs`` in place of the differentiated leaves."""
        tree = xs[0] if self._treedef is None else trees.unflatten(self._treedef, xs)
        args, kwargs = list(self._args), dict(self._kwargs)
        values = (tree,) if self.selection.single else tree
        for place, value in zip(self.places, values, strict=True):
            if isinstance(place, int):
                args[place] = value
            else:
                kwargs[place] = value
        result = self.selection.f(*args, **kwargs)
        if not self.has_aux:
            return result
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ArgumentError(
                f"has_aux=True needs a function that returns a pair (output, aux), "
                f"got {_described(result)}"
            )
        self._aux = _Parts(result[1], self.backend)
        return result[0]

    def _with_aux(self, *outputs: Array) -> tuple[Array, ...]:
        return outputs if self._aux is None else (*outputs, *self._aux.arrays)

    def scalar(self, *xs: Array) -> tuple[Array, ...]:
        """Flat arrays to the real scalar of S2, then the arrays of aux."""
        y = self._single(xs)
        if self.reduce is not None:
            y = self._reduced(y)
        if not self.backend.is_scalar(y):
            raise ScalarOutputError(
                f"only a real scalar is differentiated, but the function returned shape "
                f"{self.backend.shape(y)}; type: reduce='sum' or reduce='mean' for one number, "
                f"per_example=True for one gradient a row, ug.jacobian(f) for all of them, or "
                f"ug.vjp(f, x) with a cotangent"
            )
        self._require_real(y)
        return self._with_aux(y)

    def vector(self, *xs: Array) -> tuple[Array, ...]:
        """Flat arrays to one real value for each example, shape ``(N,)``, then aux."""
        y = self._single(xs)
        shape = self.backend.shape(y)
        if len(shape) != 1:
            raise ShapeError(
                f"per_example=True needs one value for each example, shape (N,), but the function "
                f"returned shape {shape}; reduce the other axes inside it"
            )
        self._require_real(y)
        for name, x in zip(self.names(), xs, strict=True):
            if self.backend.shape(x)[:1] != shape:
                raise ShapeError(
                    f"per_example=True needs the {shape[0]} examples of the output along axis 0 "
                    f"of every differentiated leaf, but {name} has shape "
                    f"{self.backend.shape(x)}; for the gradient of every example with respect "
                    f"to shared parameters type: ug.jacobian(f)"
                )
        return self._with_aux(y)

    def tree(self, *xs: Array) -> tuple[Array, ...]:
        """Flat arrays to the leaves of the tree that the function returns, then aux."""
        leaves, self._output = trees.flatten(self._run(xs))
        outputs = [self._native(leaf) for leaf in leaves]
        for y in outputs:
            kind = self.backend.dtype(y)
            if not (is_floating(kind) or is_complex(kind)):
                raise NotDifferentiableError(
                    f"the function returned {kind}, which has no derivative; return a float, "
                    f"or hand it over by has_aux=True"
                )
        return self._with_aux(*outputs)

    def _single(self, xs: Sequence[Array]) -> Array:
        y = self._run(xs)
        if isinstance(y, tuple | list | dict) or y is None:
            raise ScalarOutputError(
                f"one array is differentiated, but the function returned {_described(y)}; type: "
                f"has_aux=True for (output, extra), or ug.jacobian or ug.vjp for a tree of outputs"
            )
        return self._native(y)

    def _reduced(self, y: Array) -> Array:
        self._require_real(y)
        xp = self.backend.xp
        return self._native(xp.sum(y) if self.reduce == "sum" else xp.mean(y))

    def _native(self, y: Any) -> Array:
        """An output as an array of the backend, where it can be one."""
        if isinstance(y, self.backend.array_types):
            return self.backend.prepare(y)
        other = owner(type(y))
        if other is not None:
            raise MixedBackendError(
                f"the arguments are arrays of {self.backend.name}, but the function returned an "
                f"array of {other.name}; compute with ug.array_namespace(x) inside it"
            )
        if type(y) is float:
            kinds = (self.backend.dtype(x) for x in self.primals)
            return self.backend.asarray(y, dtype=next(filter(is_floating, kinds), "float64"))
        if isinstance(y, (np.ndarray, np.generic)):
            raise NotDifferentiableError(
                f"the arguments are arrays of {self.backend.name}, but the function returned a "
                f"NumPy {type(y).__name__}: a NumPy function inside it left {self.backend.name}, "
                f"and its derivative is lost; compute with xp = ug.array_namespace(x)"
            )
        if isinstance(y, NEUTRAL_TYPES):
            return self.backend.asarray(y)
        raise NotDifferentiableError(
            f"the function returned {_described(y)}, which has no derivative; "
            f"return an array or a float"
        )

    def _require_real(self, y: Array) -> None:
        kind = self.backend.dtype(y)
        if is_complex(kind):
            raise ScalarOutputError(
                f"only a real scalar is differentiated, but the function returned {kind}; "
                f"return its real part or its absolute value"
            )
        if not is_floating(kind):
            raise NotDifferentiableError(
                f"the function returned {kind}, which has no derivative; return a float"
            )

    def require_real(self, arrays: Sequence[Array], wanted: str) -> None:
        """Refuse complex arrays where the answer would be no complex matrix."""
        for array in arrays:
            kind = self.backend.dtype(array)
            if is_complex(kind):
                raise NotDifferentiableError(
                    f"{wanted} of {kind} was asked, but the derivative of complex arrays is no "
                    f"complex matrix in general; use ug.vjp, ug.jvp or ug.hvp, or split the real "
                    f"and imaginary parts"
                )

    # ---------------------------------------------------------------- back to trees

    def filled(self, grads: Sequence[Array | None]) -> list[Array]:
        """Gradients with zeros where there is no connection (S3)."""
        return [
            self.backend.zeros_like(x) if g is None else g
            for g, x in zip(grads, self.primals, strict=True)
        ]

    def give(self, results: Sequence[Array], beside: Sequence[Array] = ()) -> Any:
        """Results, one for each differentiated leaf, in the structure of the arguments.

        Args:
            beside: further arrays of the user's, with which they must share no memory.
        """
        released = self.backend.release(results, [*self._every, *beside], self.leaves)
        return self.like_arguments(released)

    def like_arguments(self, entries: Sequence[Any]) -> Any:
        """Any entries, one for each differentiated leaf, in the structure of the arguments."""
        if self._treedef is None:
            return entries[0]
        return trees.unflatten(self._treedef, entries)

    def like_output(self, entries: Sequence[Any]) -> Any:
        """Any entries, one for each leaf of what `tree` returned, in its structure."""
        assert self._output is not None
        return trees.unflatten(self._output, entries)

    def count_outputs(self) -> int:
        """How many leaves `tree` returned; the rest is aux."""
        assert self._output is not None
        return self._output.num_leaves

    def free(self, results: Sequence[Array], beside: Sequence[Array] = ()) -> list[Array]:
        """Results that belong to no leaf, sharing no memory with any."""
        return self.backend.release(results, [*self._every, *beside])

    def give_aux(self, arrays: Sequence[Array]) -> Any:
        """The auxiliary output."""
        assert self._aux is not None
        return self._aux.tree(self.free(arrays))

    def directions(self, tree: Any, role: str) -> list[Array]:
        """The leaves of a direction in the space of the arguments, checked (S15)."""
        leaves = structured(tree, self._tree, role)
        return matched(self.backend, leaves, self.primals, self.names(), role)

    def cotangents(self, tree: Any, outputs: Sequence[Array], role: str) -> list[Array]:
        """The leaves of a direction in the space of the outputs of `tree`, checked (S15)."""
        template = self.like_output(outputs)
        leaves = structured(tree, template, role)
        return matched(self.backend, leaves, outputs, trees.paths(template, "output"), role)


class _Parts:
    """A tree taken apart into the arrays of a backend and everything else."""

    def __init__(self, tree: Any, backend: Backend) -> None:
        self._leaves, self._treedef = trees.flatten(tree)
        self._own = [isinstance(leaf, backend.array_types) for leaf in self._leaves]
        self.arrays = [x for x, own in zip(self._leaves, self._own, strict=True) if own]

    def tree(self, arrays: Sequence[Array]) -> Any:
        """The tree with these arrays in place of its own."""
        rest = iter(arrays)
        return trees.unflatten(
            self._treedef,
            [next(rest) if own else x for x, own in zip(self._leaves, self._own, strict=True)],
        )


def _taken_apart(value: Any) -> tuple[list[Any], trees.TreeDef | None]:
    """Leaves and structure; a lone array or number has none."""
    kind = type(value)
    if kind in NEUTRAL_TYPES or owner(kind) is not None:
        return [value], None
    return trees.flatten(value)


def _typed(leaves: list[Any], backend: Backend) -> list[Any]:
    """A Python float takes the dtype of the floating arrays beside it, float64 alone."""
    if not any(type(leaf) in (float, complex) for leaf in leaves):
        return leaves
    own = [x for x in leaves if isinstance(x, backend.array_types)]
    floating = next(filter(is_floating, map(backend.dtype, own)), "float64")
    real = np.dtype(floating if floating in ("float16", "float32") else "float64").type
    number: dict[type, Callable[[Any], Any]] = {float: real, complex: np.complex128}
    return [number[type(x)](x) if type(x) in number else x for x in leaves]


def structured(tree: Any, template: Any, role: str) -> list[Any]:
    """The leaves of ``tree``, which must have the structure of ``template`` (S15)."""
    leaves, treedef = trees.flatten(tree)
    _, wanted = trees.flatten(template)
    if treedef != wanted:
        raise StructureError(
            f"{role} must have the structure of what it belongs to, {_described(template)}, "
            f"got {_described(tree)}"
        )
    return leaves


def matched(
    backend: Backend, leaves: Sequence[Any], primals: Sequence[Array], names: list[str], role: str
) -> list[Array]:
    """The leaves of a direction as arrays of the backend, equal in shape and dtype (S15)."""
    found = []
    for leaf, x, name in zip(leaves, primals, names, strict=True):
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
                f"{role} of {name} must be an array of {backend.name}, got {text}"
            )
        if backend.dtype(y) != kind or not backend.same_shape(x, y):
            raise ShapeError(
                f"{role} of {name} must have shape {backend.shape(x)} and dtype {kind}, "
                f"got shape {backend.shape(y)} and dtype {backend.dtype(y)}"
            )
        found.append(y)
    return found


def _described(tree: Any) -> str:
    """The structure of a tree in a few words."""
    if isinstance(tree, tuple):
        entries = ", ".join(_described(entry) for entry in tree)
        return f"a tuple of {len(tree)}" + (f" ({entries})" if 0 < len(tree) <= 4 else "")
    if isinstance(tree, list):
        return f"a list of {len(tree)}"
    if isinstance(tree, dict):
        return f"a dict with keys {sorted(map(repr, tree))}"
    return "None" if tree is None else f"one {type(tree).__name__}"
