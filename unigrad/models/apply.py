"""What ``ug.functional`` gives: a model as a function of its parameters and its state."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, ShapeError, StructureError
from unigrad.stateless import ModelOptions, StatelessModel

__all__ = ["Apply", "check"]


class Apply:
    """``apply(params, *inputs, state=None, seed=None, **options)``: a model as a function.

    Calls write nothing into the model; what the model would update is dropped, or returned as
    ``(output, state)`` where ``ug.functional(model, state="return")`` asked for that.

    Attributes:
        model: the model, taken apart by its adapter.
        backend: that of its arrays.
        mode: ``"eval"``, ``"train"``, or ``None`` for the framework's own.
    """

    __slots__ = ("_names", "_returns_state", "_shapes", "backend", "mode", "model")

    def __init__(
        self,
        model: StatelessModel,
        backend: Backend,
        options: ModelOptions,
        params: Mapping[str, Array],
        returns_state: bool,
    ) -> None:
        self.model = model
        self.mode = options.mode
        self.backend = backend
        self._returns_state = returns_state
        self._shapes = {name: backend.shape(x) for name, x in params.items()}
        self._names = self._shapes.keys()

    @property
    def state(self) -> dict[str, Array]:
        """The model's present state by name: frozen weights, running statistics, seeds."""
        return self.model.state()

    def __call__(
        self,
        params: Mapping[str, Array],
        *inputs: Any,
        state: Mapping[str, Array] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        if not isinstance(params, Mapping) or params.keys() != self._names:
            raise StructureError(_odd_names("params", self.model.name, params, self._shapes))
        shape, own = self.backend.shape, self.backend.array_types
        for name, wanted in self._shapes.items():
            x = params[name]
            if not isinstance(x, own):
                params = {**params, name: self._neutral(name, x)}
            if shape(params[name]) != wanted:
                raise ShapeError(_odd_shape("params", name, shape(params[name]), wanted))
        if state is not None:
            check("state", self.model.name, self.backend, state, self.model.state())
        if seed is not None:
            seed = _integer(seed)
        output, after = self.model.call(params, state, inputs, options, seed)
        return (output, after) if self._returns_state else output

    def _neutral(self, name: str, x: Any) -> Array:
        """A NumPy array, which is welcome beside arrays of any framework (S10)."""
        if isinstance(x, (np.ndarray, np.generic)):
            return self.backend.asarray(x)
        raise ArgumentError(
            f"params[{name!r}] must be an array of the backend {self.backend.name!r}, as "
            f"{self.model.name} is, got {type(x).__name__}; type: "
            f"ug.asarray(params, backend={self.backend.name!r})"
        )

    def __repr__(self) -> str:
        return (
            f"<apply of {self.model.name}: {len(self._shapes)} parameters, mode={self.mode!r}, "
            f"state={'return' if self._returns_state else 'frozen'!r}>"
        )


def check(what: str, model: str, backend: Backend, values: Any, known: Mapping[str, Array]) -> None:
    """Refuse values whose names or shapes are not those of ``known``."""
    if not isinstance(values, Mapping) or values.keys() != known.keys():
        raise StructureError(_odd_names(what, model, values, known))
    for name, x in known.items():
        got, wanted = backend.shape(values[name]), backend.shape(x)
        if got != wanted:
            raise ShapeError(_odd_shape(what, name, got, wanted))


def _integer(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise ArgumentError(f"seed must be an integer, got {seed!r}") from None


def _odd_shape(what: str, name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return (
        f"{what}[{name!r}] must have shape {wanted}, as in the model, got {got}; to run many "
        f"models at once, map over the leading axis (jax.vmap, torch.func.vmap)"
    )


def _odd_names(what: str, model: str, got: Any, wanted: Mapping[str, Any]) -> str:
    remedy = "type: apply, params = ug.functional(model) and keep the keys of params"
    if not isinstance(got, Mapping):
        return (
            f"apply of {model} takes {what} as a dict by parameter name, got "
            f"{type(got).__name__}; {remedy}"
        )
    missing = sorted(wanted.keys() - got.keys())
    unknown = sorted(map(str, got.keys() - wanted.keys()))
    return f"apply of {model} takes its {what}: missing {missing}, unknown {unknown}; {remedy}"
