"""What a scenario's derivatives are, from sources that share no code with any backend.

Closed forms where there are; else complex steps (exact to rounding), or central differences of
order eight. A Hessian product without a closed form is such a difference of gradients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from unigrad import trees
from unigrad.testing.scenario import NumPyArray, Scenario

__all__ = ["Reference", "reference"]

Leaves = list[NumPyArray]

# Accuracy of what is not in closed form: rounding divided by the step, at each difference.
FIRST_DIFFERENCE = 1e-9
SECOND_DIFFERENCE = 1e-7

# Central differences of order eight, at offsets 1 ... 4; Fornberg (1988), Math. Comp. 51.
_FIRST = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
_SECOND = (8 / 5, -1 / 5, 8 / 315, -1 / 560)
_SECOND_CENTER = -205 / 72
_TINY = 1e-40


@functools.cache
def reference(scenario: Scenario) -> Reference:
    """The reference of a scenario; computed once."""
    return Reference(scenario)


class Reference:
    """Expected results, each with the tolerance that its source allows."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.leaves, self._treedef = trees.flatten(scenario.args)
        self.value = np.asarray(self._call(self.leaves))
        self.cotangent = scenario.cotangent(self.value)
        self.tangents = scenario.direction()
        closed = scenario.gradient is not None or scenario.oracle == "complex step"
        self.first_tolerance = scenario.tolerance if closed else FIRST_DIFFERENCE
        if scenario.hvp is not None:
            self.second_tolerance = scenario.tolerance
        else:
            self.second_tolerance = FIRST_DIFFERENCE if closed else SECOND_DIFFERENCE
        self.third_tolerance = SECOND_DIFFERENCE

    # ---------------------------------------------------------------- first order

    @functools.cached_property
    def gradient(self) -> Leaves:
        """The gradient of ``Re <u, f>`` with the scenario's cotangent ``u``."""
        return self.pull(self.cotangent)

    def pull(self, cotangent: NumPyArray) -> Leaves:
        """``Jᵀu``."""
        return self._gradient(cotangent, self.leaves)

    @functools.cached_property
    def pushed(self) -> NumPyArray:
        """``Jv`` for the scenario's tangents ``v``."""
        if self.scenario.complex:
            return _first_difference(self._along(self.tangents), self.scenario.step)
        moved = [
            sum(float(np.sum(g * v)) for g, v in zip(row, self.tangents, strict=True))
            for row in self._rows()
        ]
        return np.reshape(np.asarray(moved), self.value.shape)

    @functools.cached_property
    def jacobian(self) -> Leaves:
        """For each leaf, the Jacobian: the output's shape followed by the leaf's."""
        return _stacked(self._rows(), self.value.shape, self.leaves)

    def value_at(self, leaves: Sequence[NumPyArray]) -> NumPyArray:
        """``f`` at another point."""
        return self._call(leaves)

    def gradient_at(
        self, leaves: Sequence[NumPyArray], cotangent: NumPyArray | None = None
    ) -> Leaves:
        """The gradient at another point, by default for the scenario's cotangent."""
        return self._gradient(self.cotangent if cotangent is None else cotangent, leaves)

    def _rows(self) -> list[Leaves]:
        units = np.eye(self.value.size).reshape(self.value.size, *self.value.shape)
        return [self.pull(unit) for unit in units]

    # ---------------------------------------------------------------- higher orders

    @functools.cached_property
    def product(self) -> Leaves:
        """Hessian of ``Re <u, f>`` times the scenario's tangents."""
        return self.times(self.tangents)

    def times(self, tangents: Sequence[NumPyArray]) -> Leaves:
        """Hessian of ``Re <u, f>`` times ``tangents``."""
        if self.scenario.hvp is not None:
            v = tangents[0] if len(tangents) == 1 else tuple(tangents)
            args = (*self.scenario.args, *self.scenario.data)
            return _as_leaves(self.scenario.hvp(self.cotangent, v, *args), self.leaves)
        steps = self._gradients_along(tangents)
        return [_first_difference(g, self.scenario.step) for g in steps]

    @functools.cached_property
    def hessian(self) -> list[Leaves]:
        """For each pair of leaves, the block of second derivatives."""
        columns: list[Leaves] = []
        for k, x in enumerate(self.leaves):
            units = np.eye(x.size).reshape(x.size, *x.shape)
            zeros = [np.zeros_like(y) for y in self.leaves]
            rows = [self.times([*zeros[:k], unit, *zeros[k + 1 :]]) for unit in units]
            columns.append(_stacked(rows, x.shape, self.leaves))
        return columns

    @functools.cached_property
    def third(self) -> Leaves:
        """The gradient of ``vᵀ H v``."""
        steps = self._gradients_along(self.tangents)
        return [_second_difference(g, self.scenario.step) for g in steps]

    def _gradients_along(
        self, tangents: Sequence[NumPyArray]
    ) -> list[Callable[[float], NumPyArray]]:
        @functools.cache
        def at(t: float) -> Leaves:
            moved = [x + t * v for x, v in zip(self.leaves, tangents, strict=True)]
            return self._gradient(self.cotangent, moved)

        def entry(k: int) -> Callable[[float], NumPyArray]:
            return lambda t: at(t)[k]

        return [entry(k) for k in range(len(self.leaves))]

    # ---------------------------------------------------------------- oracles

    def _call(self, leaves: Sequence[NumPyArray]) -> NumPyArray:
        f = self.scenario.value
        args = trees.unflatten(self._treedef, leaves)
        if f is None:
            return np.asarray(self.scenario.f(numpy_namespace, *args, *self.scenario.data))
        return np.asarray(f(*args, *self.scenario.data))

    def _along(self, tangents: Sequence[NumPyArray]) -> Callable[[float], NumPyArray]:
        return lambda t: self._call([x + t * v for x, v in zip(self.leaves, tangents, strict=True)])

    def _gradient(self, u: NumPyArray, leaves: Sequence[NumPyArray]) -> Leaves:
        if self.scenario.gradient is not None:
            args = trees.unflatten(self._treedef, leaves)
            found = self.scenario.gradient(u, *args, *self.scenario.data)
            return _as_leaves(found, self.leaves)
        if self.scenario.oracle == "complex step":
            return self._complex_steps(u, leaves)
        return self._differences(u, leaves)

    def _complex_steps(self, u: NumPyArray, leaves: Sequence[NumPyArray]) -> Leaves:
        # Squire and Trapp (1998), doi:10.1137/S003614459631241X.
        raised = [np.array(x, dtype=np.complex128) for x in leaves]
        grads = [np.empty(np.shape(x)) for x in leaves]
        for x, g in zip(raised, grads, strict=True):
            for i in np.ndindex(x.shape):
                at = x[i]
                x[i] = at + 1j * _TINY
                g[i] = np.sum(u * self._call(raised).imag) / _TINY
                x[i] = at
        return grads

    def _differences(self, u: NumPyArray, leaves: Sequence[NumPyArray]) -> Leaves:
        moved = [np.array(x) for x in leaves]
        grads = [np.empty(np.shape(x)) for x in leaves]
        for x, g in zip(moved, grads, strict=True):
            for i in np.ndindex(x.shape):
                at = x[i]

                def along(t: float, x: Any = x, i: Any = i, at: Any = at) -> NumPyArray:
                    x[i] = at + t
                    return np.asarray(np.sum(u * self._call(moved)))

                g[i] = _first_difference(along, self.scenario.step)
                x[i] = at
        return grads


def _first_difference(along: Callable[[float], NumPyArray], h: float) -> NumPyArray:
    total = sum(c * (along(k * h) - along(-k * h)) for k, c in enumerate(_FIRST, start=1))
    return np.asarray(total / h)


def _second_difference(along: Callable[[float], NumPyArray], h: float) -> NumPyArray:
    total = _SECOND_CENTER * along(0.0)
    for k, c in enumerate(_SECOND, start=1):
        total = total + c * (along(k * h) + along(-k * h))
    return np.asarray(total / h**2)


def _as_leaves(found: Any, leaves: Sequence[NumPyArray]) -> Leaves:
    """Closed forms may return one array, or a tuple, and may leave broadcasting to us."""
    parts = found if isinstance(found, tuple) else (found,)
    return [
        np.broadcast_to(np.asarray(g, dtype=x.dtype), x.shape).copy()
        for g, x in zip(parts, leaves, strict=True)
    ]


def _stacked(rows: list[Leaves], shape: tuple[int, ...], leaves: Sequence[NumPyArray]) -> Leaves:
    assert len(rows) == math.prod(shape)
    return [np.reshape([row[k] for row in rows], (*shape, *x.shape)) for k, x in enumerate(leaves)]
