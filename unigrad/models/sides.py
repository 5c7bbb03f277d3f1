"""A model as `port` sees it: its layers in canonical layout, and the arrays that no layer owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from unigrad.backend import Array, Backend, is_complex, is_floating
from unigrad.errors import ArgumentError
from unigrad.layouts import Layer
from unigrad.models.apply import Apply
from unigrad.models.functional import take_apart
from unigrad.registry import backend_of
from unigrad.stateless import ModelOptions

__all__ = ["Item", "Side", "read_side", "show_shapes"]

Item: TypeAlias = "tuple[str | None, str]"
"""A canonical array: (layer, role), or (``None``, name) of an array that no layer owns."""

Shape: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        what: which argument of `port` it was.
        name: the model, for messages.
        backend: that of its arrays.
        framework: what says how its arrays lie.
        present: its parameters and state by name, those that are numbers of floating point.
        required: the names of its trainable parameters.
        layers: by name, in the order of definition; arrays of another layer are left out.
        shapes: of its canonical arrays, in the order of definition.
        counters: names of state that is no number, such as seeds: it is not ported.
    """

    what: str
    name: str
    backend: Backend
    framework: str
    present: Mapping[str, Array]
    required: frozenset[str]
    layers: Mapping[str, Layer]
    shapes: Mapping[Item, Shape]
    counters: frozenset[str]

    def roles(self, layer: str) -> dict[str, Shape]:
        """Shapes of one layer's canonical arrays by role."""
        return {role: shape for (owner, role), shape in self.shapes.items() if owner == layer}

    def label(self, item: Item) -> str:
        """What a mapping calls this array."""
        return item[1] if item[0] is None else f"{item[0]}.{item[1]}"


def read_side(model: Any, what: str) -> Side:
    """Take a model, the ``apply`` of one, or a pair (apply, params), for porting.

    Raises:
        ArgumentError: for anything else.
    """
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Apply):
        model = model[0]
    if isinstance(model, Apply):
        stateless, backend = model.model, model.backend
    else:
        # Trap: linen's (module, variables) is a pair too, whose layers are known.
        found = take_apart(model, ModelOptions())
        if found is None and isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
            return _pair(model[1], what)
        if found is None:
            raise ArgumentError(
                f"port: {what} must be what ug.functional takes, got {type(model).__name__}: a "
                f"model, the apply of one, or a pair (apply, params)"
            )
        stateless, backend = found
    params = stateless.params()
    everything = {**params, **stateless.state()}
    present = _numbers(everything, backend)
    layers: dict[str, Layer] = {}
    owned: set[str] = set()
    for layer in stateless.layers():
        # A weight that two layers share belongs to the first of them.
        parts = tuple(
            part
            for part in layer.parts
            if all(name in present and name not in owned for name in part.names)
        )
        if layer.name in layers:
            raise ArgumentError(
                f"port: {stateless.name} lists two layers named {layer.name!r}; give its layers "
                f"names of their own"
            )
        kept = replace(layer, parts=parts)
        if parts:
            layers[layer.name] = kept
            owned.update(kept.names)
    shapes = _canonical_shapes(present, layers, owned, backend)
    required = frozenset(params) & present.keys()
    counters = frozenset(everything.keys() - present.keys())
    framework = type(stateless).__qualname__
    return Side(
        what, stateless.name, backend, framework, present, required, layers, shapes, counters
    )


def _pair(params: Any, what: str) -> Side:
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise ArgumentError(
            f"port: {what} is a pair (apply, params) whose params must be a dict of arrays by "
            f"name, got {type(params).__name__}"
        )
    backend = backend_of(list(params.values()))
    shapes: dict[Item, Shape] = {(None, name): np.shape(x) for name, x in params.items()}
    name = "a pair (apply, params)"
    required = frozenset(params)
    return Side(what, name, backend, backend.name, params, required, {}, shapes, frozenset())


def _numbers(arrays: Mapping[str, Array], backend: Backend) -> dict[str, Array]:
    """Without counters and seeds, which are no weights."""

    def is_number(x: Array) -> bool:
        kind = backend.dtype(x)
        return is_floating(kind) or is_complex(kind)

    return {name: x for name, x in arrays.items() if is_number(x)}


def _canonical_shapes(
    present: Mapping[str, Array], layers: Mapping[str, Layer], owned: set[str], backend: Backend
) -> dict[Item, Shape]:
    shapes: dict[Item, Shape] = {}
    for layer in layers.values():
        stand_ins = {
            name: np.broadcast_to(np.int8(0), backend.shape(present[name])) for name in layer.names
        }
        for role, x in layer.to_canonical(stand_ins).items():
            shapes[layer.name, role] = x.shape
    for name, x in present.items():
        if name not in owned:
            shapes[None, name] = backend.shape(x)
    return shapes


def show_shapes(shapes: Mapping[str, Shape]) -> str:
    """``weight (3, 2), bias (3,)``."""
    return ", ".join(f"{role} {shape}" for role, shape in shapes.items())
