"""One scenario on one backend, ready to be checked: native arrays, counted calls, intact inputs.

Reference and backend see the same bits: everything goes through ``Backend.asarray`` once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Array, Backend
from unigrad.testing.flags import changed, snapshot
from unigrad.testing.reference import reference
from unigrad.testing.scenario import NumPyArray, Scenario

__all__ = ["CheckError", "Comparison", "Trial", "native"]


class CheckError(AssertionError):
    """A promise other than the numbers is broken: a shape, a dtype, an input, a count."""


@dataclass(frozen=True)
class Comparison:
    """Numbers that must agree.

    Attributes:
        what: how messages call them.
    """

    got: list[NumPyArray]
    want: list[NumPyArray]
    tolerance: float
    what: str = "the result"


def native(backend: Backend, tree: Any, single: bool = False) -> Any:
    """The tree with every NumPy array as an array of ``backend``, perhaps in single precision."""
    leaves, treedef = trees.flatten(tree)
    if single:
        leaves = [x.astype(np.float32) if x.dtype == np.float64 else x for x in leaves]
    with backend.scope(leaves) or contextlib.nullcontext():
        return trees.unflatten(treedef, [backend.asarray(x) for x in leaves])


class Trial:
    """A scenario on a backend.

    Attributes:
        args: the scenario's arguments as native arrays, each passed through ``arrange``.
        tangents: its direction, in the structure of ``args``.
        cotangent: of the output, native.
        single: whether it runs in single precision; the reference never does.
        calls: how often `f` was called since the last `expect_calls`.
    """

    def __init__(
        self,
        backend: Backend,
        scenario: Scenario,
        *,
        single: bool = False,
        arrange: Callable[[Backend, Array], Array] | None = None,
    ) -> None:
        self.backend = backend
        self.scenario = scenario
        self.reference = reference(scenario)
        self.xp = backend.xp
        self.argnums = scenario.argnums
        self.args: tuple[Any, ...] = native(backend, scenario.args, single)
        if arrange is not None:
            leaves, treedef = trees.flatten(self.args)
            with backend.scope(leaves) or contextlib.nullcontext():
                self.args = trees.unflatten(treedef, [arrange(backend, x) for x in leaves])
        self._leaves, self._treedef = trees.flatten(self.args)
        self._before = [np.array(backend.to_numpy(x)) for x in self._leaves]
        self._data = native(backend, scenario.data, single)
        self.tangents: tuple[Any, ...] = trees.unflatten(
            self._treedef, native(backend, self.reference.tangents, single)
        )
        self.cotangent = native(backend, self.reference.cotangent, single)
        self.dtype = "float32" if single else "float64"
        self.single = single
        self.calls = 0
        self._flags = snapshot()

    # ---------------------------------------------------------------- the function

    def f(self, *args: Any) -> Array:
        """The scenario's function on native arrays; counted."""
        self.calls += 1
        return self.scenario.f(self.xp, *args, *self._data)

    def s(self, *args: Any) -> Array:
        """``Re <u, f>``; for a scalar output ``f`` itself."""
        return self.scalar_of(self.f(*args))

    def scalar_of(self, y: Array) -> Array:
        """``Re <u, y>``."""
        if self.scenario.output == "scalar":
            return y
        if self.backend.dtype(y).startswith("complex"):
            return self.xp.sum(self.xp.real(self.xp.conj(self.cotangent) * y))
        return self.xp.sum(self.cotangent * y)

    def inner(self, xs: Any, ys: Any) -> Array:
        """Inner product of two trees; differentiable."""
        return self.backend.inner(trees.flatten(xs)[0], trees.flatten(ys)[0])

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """What must surround native arithmetic outside an operator."""
        return self.backend.scope(self._leaves) or contextlib.nullcontext()

    def of_arguments(self, tree: Any) -> Any:
        """A tuple of trees as operators want it: bare for a single argument."""
        return tree if isinstance(self.argnums, tuple) else tree[0]

    # ---------------------------------------------------------------- what is promised besides

    def like_arguments(self, result: Any) -> list[NumPyArray]:
        """Leaves of a result with the structure, shapes and dtypes of the arguments (S1)."""
        leaves, treedef = trees.flatten(result)
        _, wanted = trees.flatten(self.of_arguments(self.args))
        if treedef != wanted:
            raise CheckError(f"the result is {treedef}, its arguments are {wanted} (S15)")
        for got, x in zip(leaves, self._leaves, strict=True):
            self._like(got, self.backend.shape(x), self.backend.dtype(x))
        return self.numpy(leaves)

    def like_output(self, result: Any) -> list[NumPyArray]:
        """The result, with the shape of the output and the dtype of the arguments."""
        dtype = self.reference.value.dtype.name
        kind = self.dtype if dtype == "float64" else dtype
        self._like(result, self.reference.value.shape, kind)
        return self.numpy([result])

    def like_blocks(self, tree: Any, first: Sequence[tuple[int, ...]]) -> list[NumPyArray]:
        """Blocks of a Jacobian or Hessian: shapes of ``first``, each followed by each leaf's."""
        leaves, _ = trees.flatten(tree)
        shapes = [(*s, *self.backend.shape(x)) for s in first for x in self._leaves]
        if len(leaves) != len(shapes):
            raise CheckError(f"{len(shapes)} blocks are expected, got {len(leaves)}")
        for got, shape in zip(leaves, shapes, strict=True):
            self._like(got, shape, self.dtype)
        return self.numpy(leaves)

    def _like(self, got: Any, shape: tuple[int, ...], dtype: str) -> None:
        if not isinstance(got, self.backend.array_types):
            raise CheckError(
                f"an array of {self.backend.name} is expected, got {type(got).__name__} (S1)"
            )
        if (self.backend.shape(got), self.backend.dtype(got)) != (shape, dtype):
            raise CheckError(
                f"shape {shape} and dtype {dtype} are expected, got "
                f"{self.backend.shape(got)} and {self.backend.dtype(got)} (S1)"
            )

    def numpy(self, leaves: Sequence[Array]) -> list[NumPyArray]:
        """Results as NumPy arrays."""
        return [np.array(self.backend.to_numpy(x)) for x in leaves]

    def expect_calls(self, count: int = 1) -> None:
        """Assert S9, and start counting anew."""
        calls, self.calls = self.calls, 0
        if calls != count:
            raise CheckError(f"f is to be called {count} times, but was called {calls} times (S9)")

    def expect_pure(self) -> None:
        """Assert S5: inputs have the bits that they had, and no global flag has moved."""
        for x, before in zip(self._leaves, self._before, strict=True):
            now = self.backend.to_numpy(x)
            if now.dtype != before.dtype or now.tobytes() != before.tobytes():
                raise CheckError("an input was mutated (S5)")
        moved = changed(self._flags, snapshot())
        if moved:
            raise CheckError(f"global state was left changed: {', '.join(moved)} (S5)")
