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
)
from unigrad.operators.arguments import Selection
from unigrad.operators.directions import described, matched, structured
from unigrad.operators.plan import Part, Plan
from unigrad.registry import NEUTRAL_TYPES, memory, owner

__all__ = ["Evaluation", "Reduce", "zeros_filled"]

Reduce: TypeAlias = Literal["sum", "mean"] | None
_NOTHING = contextlib.nullcontext()
# The usual dtypes; whether another one has a derivative is seen from its name.
_REAL = frozenset({"float64", "float32"})
_DIFFERENTIABLE = frozenset({*_REAL, "complex128", "complex64"})


class Evaluation:
    """``f`` at a point, ready for a backend.

    Attributes:
        backend: where the work is done.
        primals: the differentiated leaves, as arrays of the backend.
        leaves: the same leaves as the user gave them.
    """

    __slots__ = (
        "_args",
        "_aux",
        "_chosen",
        "_every",
        "_flatten",
        "_kwargs",
        "_output",
        "_plan",
        "backend",
        "has_aux",
        "leaves",
        "places",
        "primals",
        "reduce",
        "selection",
    )

    def __init__(
        self,
        selection: Selection,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        has_aux: bool = False,
        reduce: Reduce = None,
        backend: str | Backend | None = None,
    ) -> None:
        if reduce is not None and reduce not in ("sum", "mean"):
            raise ArgumentError(f"reduce is 'sum', 'mean' or None, got {reduce!r}")
        self.selection = selection
        self.has_aux = has_aux
        self.reduce = reduce
        self.places = selection.locate(args, kwargs)
        self._args = args
        self._kwargs = kwargs
        known = memory()
        self._flatten = flatten = known.flatten
        parts = [flatten(value) for value in (args if not kwargs else (*args, *kwargs.values()))]
        self._plan = plan = Plan.of(known, self.places, kwargs, parts, backend, self._all_names)
        self.backend = plan.backend
        self._chosen = parts if plan.whole else [parts[k] for k in plan.chosen]
        leaves = _joined(self._chosen)
        self.leaves = _typed(leaves, plan.backend) if plan.numbers else leaves
        self._every = self.leaves
        if plan.beside:
            self._every = self.leaves + _joined([parts[k] for k in plan.beside])
        self._output: trees.TreeDef | None = None
        self._aux: _Parts | None = None
        if plan.scoped or plan.moves:
            with self.scope():
                self.primals = self._prepared()
                self._move_data()
        else:
            self.primals = self._prepared()

    # ---------------------------------------------------------------- the arguments

    def _at(self, place: int | str) -> Any:
        return self._args[place] if isinstance(place, int) else self._kwargs[place]

    def _with(
        self, values: Sequence[Any], places: Sequence[int | str] | None = None
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments with these values at their places, by default the differentiated."""
        args, kwargs = list(self._args), self._kwargs
        for place, value in zip(self.places if places is None else places, values, strict=True):
            if isinstance(place, int):
                args[place] = value
            else:
                kwargs = {**kwargs, place: value}
        return args, kwargs

    def _others(self) -> list[int | str]:
        """Places of the arguments that are not differentiated."""
        every = [*range(len(self._args)), *self._kwargs]
        return [place for place in every if place not in self.places]

    def names(self, places: Sequence[int | str] | None = None) -> list[str]:
        """How the user would write each leaf, by default each differentiated one."""
        places = self.places if places is None else places
        return trees.names([self.selection.title(p) for p in places], [self._at(p) for p in places])

    def _all_names(self) -> list[str]:
        return self.names() + self.names(self._others())

    def _prepared(self) -> list[Array]:
        backend = self.backend
        if self._plan.own and _DIFFERENTIABLE.issuperset(map(backend.dtype, self.leaves)):
            return list(map(backend.prepare, self.leaves))
        return [self._primal(i) for i in range(len(self.leaves))]

    def _primal(self, index: int) -> Array:
        """The array to differentiate for a leaf, moved to the backend, or refused (S4)."""
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
        if not self._plan.moves:
            return

        def moved(leaf: Any) -> Any:
            plain = type(leaf) is np.ndarray and leaf.dtype.kind in "biufc"
            return self.backend.asarray(leaf) if plain else leaf

        for place in self._others():
            value = self._at(place)
            leaves, treedef, _ = self._flatten(value)
            if not any(type(leaf) is np.ndarray for leaf in leaves):
                continue
            new = [moved(leaf) for leaf in leaves]
            value = new[0] if treedef is None else trees.unflatten(treedef, new)
            self._args, self._kwargs = self._with([value], [place])

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """What the backend wants around everything that concerns this call."""
        return (self.backend.scope(self._every) if self._plan.scoped else None) or _NOTHING

    # ---------------------------------------------------------------- the function, flat

    def _run(self, xs: Sequence[Array]) -> Any:
        """The user's function, called with ``xs`` in place of the differentiated leaves."""
        values = self._grouped(xs)
        if self._plan.whole:
            result = self.selection.f(*values)
        else:
            args, kwargs = self._with(values)
            result = self.selection.f(*args, **kwargs)
        if not self.has_aux:
            return result
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ArgumentError(
                f"has_aux=True needs a function that returns a pair (output, aux), "
                f"got {described(result)}"
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
        backend = self.backend
        if not backend.is_scalar(y):
            raise ScalarOutputError(
                f"only a real scalar is differentiated, but the function returned shape "
                f"{backend.shape(y)}; type: reduce='sum' or reduce='mean' for one number, "
                f"per_example=True for one gradient a row, ug.jacobian(f) for all of them, or "
                f"ug.vjp(f, x) with a cotangent"
            )
        if backend.dtype(y) not in _REAL:
            self._require_real(y)
        return (y,) if self._aux is None else self._with_aux(y)

    def examples(self, *xs: Array) -> tuple[Array, ...]:
        """Flat arrays to one real value for each example, shape ``(N,)``, then aux."""
        y = self._single(xs)
        shape = self.backend.shape(y)
        if len(shape) != 1:
            raise ShapeError(
                f"per_example= needs one value for each example, shape (N,), but the function "
                f"returned shape {shape}; reduce the other axes inside it"
            )
        self._require_real(y)
        return self._with_aux(y)

    def vector(self, *xs: Array) -> tuple[Array, ...]:
        """As `examples`, where axis 0 of every flat array counts the examples too."""
        outputs = self.examples(*xs)
        shape = self.backend.shape(outputs[0])
        for name, x in zip(self.names(), xs, strict=True):
            if self.backend.shape(x)[:1] != shape:
                raise ShapeError(
                    f"per_example=True needs the {shape[0]} examples of the output along axis 0 "
                    f"of every differentiated leaf, but {name} has shape "
                    f"{self.backend.shape(x)}; for the gradient of every example with respect "
                    f"to shared parameters type: per_example='shared'"
                )
        return outputs

    def tree(self, *xs: Array) -> tuple[Array, ...]:
        """Flat arrays to the leaves of the tree that the function returns, then aux."""
        leaves, self._output, _ = self._flatten(self._run(xs))
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
        if isinstance(y, self.backend.array_types):
            return self.backend.prepare(y)
        if isinstance(y, tuple | list | dict) or y is None:
            raise ScalarOutputError(
                f"one array is differentiated, but the function returned {described(y)}; type: "
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
            f"the function returned {described(y)}, which has no derivative; "
            f"return an array or a float"
        )

    def _require_real(self, y: Array) -> None:
        kind = self.backend.dtype(y)
        if is_floating(kind):
            return
        if is_complex(kind):
            raise ScalarOutputError(
                f"only a real scalar is differentiated, but the function returned {kind}; "
                f"return its real part or its absolute value"
            )
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

    def filled(self, grads: Sequence[Array | None]) -> Sequence[Array]:
        """Gradients with zeros where there is no connection (S3)."""
        return zeros_filled(self.backend, grads, self.primals)

    def give(self, results: Sequence[Array], beside: Sequence[Array] = ()) -> Any:
        """Results, one for each differentiated leaf, in the structure of the arguments.

        Args:
            beside: further arrays of the user's, with which they must share no memory.
        """
        released = self.backend.release(results, [*self._every, *beside], self.leaves)
        return self.like_arguments(released)

    def like_arguments(self, entries: Sequence[Any]) -> Any:
        """Any entries, one for each differentiated leaf, in the structure of the arguments."""
        values = self._grouped(entries)
        return values[0] if self.selection.single else tuple(values)

    def _grouped(self, entries: Sequence[Any]) -> list[Any]:
        """Entries, one for each differentiated leaf, as one tree for each argument."""
        if len(self._chosen) == 1:
            treedef = self._chosen[0][1]
            return [entries[0] if treedef is None else treedef.unflatten(entries)]
        values, end = [], 0
        for leaves, treedef, _ in self._chosen:
            start, end = end, end + len(leaves)
            values.append(_put_together(treedef, entries[start:end]))
        return values

    def like_output(self, entries: Sequence[Any]) -> Any:
        """Any entries, one for each leaf of what `tree` returned, in its structure."""
        return _put_together(self._output, entries)

    def count_outputs(self) -> int:
        """How many leaves `tree` returned; the rest is aux."""
        return 1 if self._output is None else self._output.num_leaves

    def free(self, results: Sequence[Array], beside: Sequence[Array] = ()) -> list[Array]:
        """Results that belong to no leaf, sharing no memory with any."""
        return self.backend.release(results, [*self._every, *beside])

    def give_aux(self, arrays: Sequence[Array]) -> Any:
        """The auxiliary output."""
        assert self._aux is not None
        return self._aux.tree(self.free(arrays))

    def directions(self, tree: Any, role: str) -> list[Array]:
        """The leaves of a direction in the space of the arguments, checked (S15)."""
        wanted = [treedef for _, treedef, _ in self._chosen]
        single = self.selection.single
        if single or (type(tree) is tuple and len(tree) == len(wanted)):
            given = [self._flatten(value) for value in ((tree,) if single else tree)]
            if [treedef for _, treedef, _ in given] == wanted:
                return matched(self.backend, _joined(given), self.primals, self.names, role)
        template = tuple(self._at(place) for place in self.places)
        leaves = structured(tree, template[0] if single else template, role, self._hint(tree))
        return matched(self.backend, leaves, self.primals, self.names, role)

    def _hint(self, tree: Any) -> str:
        count = len(self._args)
        if not self.selection.single or type(tree) is not tuple or len(tree) != count or count < 2:
            return ""
        every = ", ".join(map(str, range(count)))
        return f"; type: argnums=({every}) to differentiate all {count} arguments"

    def cotangents(self, tree: Any, outputs: Sequence[Array], role: str) -> list[Array]:
        """The leaves of a direction in the space of the outputs of `tree`, checked (S15)."""
        leaves, treedef, _ = self._flatten(tree)
        if treedef != self._output:
            leaves = structured(tree, self.like_output(outputs), role)

        def names() -> list[str]:
            return trees.paths(self.like_output(outputs), "output")

        return matched(self.backend, leaves, outputs, names, role)


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


def _joined(parts: Sequence[Part]) -> list[Any]:
    return parts[0][0] if len(parts) == 1 else [leaf for part in parts for leaf in part[0]]


def _put_together(treedef: trees.TreeDef | None, leaves: Sequence[Any]) -> Any:
    """The tree of this structure; ``None`` is that of a lone leaf."""
    return leaves[0] if treedef is None else treedef.unflatten(leaves)


def _typed(leaves: list[Any], backend: Backend) -> list[Any]:
    """A Python float takes the dtype of the floating arrays beside it, float64 alone."""
    if not any(type(leaf) in (float, complex) for leaf in leaves):
        return leaves
    own = [x for x in leaves if isinstance(x, backend.array_types)]
    floating = next(filter(is_floating, map(backend.dtype, own)), "float64")
    real = np.dtype(floating if floating in ("float16", "float32") else "float64").type
    number: dict[type, Callable[[Any], Any]] = {float: real, complex: np.complex128}
    return [number[type(x)](x) if type(x) in number else x for x in leaves]


def zeros_filled(
    backend: Backend, derivatives: Sequence[Array | None], like: Sequence[Array]
) -> Sequence[Array]:
    """Derivatives with zeros for ``None``."""
    for d in derivatives:
        if d is None:
            pairs = zip(derivatives, like, strict=True)
            return [backend.zeros_like(x) if d is None else d for d, x in pairs]
    return derivatives
