"""Flax nnx modules as functions of their ``nnx.Param``s: split, replaced and merged into a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from unigrad.backend import Array, Backend
from unigrad.errors import UnsupportedError
from unigrad.layouts import Layer
from unigrad.stateless import ModelOptions
from unigrad_jax.captured import refuse_captured, refuse_global
from unigrad_jax.models import (
    ARRAYS,
    JaxModel,
    Leaf,
    Rebuild,
    flags,
    is_trainable,
    key_of,
    stored,
)
from unigrad_jax.names import joined
from unigrad_jax.nnx_layers import nnx_layers

__all__ = ["NnxModel", "read_nnx"]

_NODES = (nnx.Module, nnx.Variable)
_HELD = (*ARRAYS, bool, int, float, complex)


def read_nnx(model: Any, options: ModelOptions, backend: Backend) -> NnxModel | None:
    """The module as its parameters and its other variables; ``None`` if it is no nnx module."""
    if not isinstance(model, nnx.Module):
        return None
    found = NnxModel(model, options, backend)
    found.refuse_what_cannot_be_copied()
    return found


class NnxModel(JaxModel):
    """A module; its names are the paths of its variables, such as ``linear/kernel``."""

    def __init__(self, module: Any, options: ModelOptions, backend: Backend) -> None:
        super().__init__(type(module).__name__, options, backend)
        self.module = module

    def open(self) -> tuple[list[Leaf], Rebuild]:
        definition, state = nnx.split(self.module)
        leaves = _leaves(state)

        def rebuild(values: Sequence[Any]) -> Any:
            return nnx.merge(definition, _replaced(state, _widened(leaves, values)))

        return leaves, rebuild

    def run(
        self, model: Any, inputs: tuple[Any, ...], options: dict[str, Any], seed: int | None
    ) -> tuple[Any, Callable[[], Mapping[str, Any]]]:
        mode = self.options.mode
        asked = flags(model, mode, inputs, options)
        if mode == "train":
            model.train()
        elif mode == "eval":
            model.eval()
        if seed is not None:
            streams = {x.tag for _, x in nnx.iter_graph(model) if isinstance(x, nnx.RngKey)}
            keys = {stream: key_of(seed, stream) for stream in streams}
            nnx.reseed(model, policy="match_shape", **keys)
        output = model(*inputs, **options, **asked)
        return output, lambda: {x.name: x.value for x in _leaves(nnx.state(model))}

    def assign(self, values: Mapping[str, Array]) -> None:
        state = nnx.state(self.module)
        new = [
            stored(values[leaf.name], leaf.value) if leaf.name in values else leaf.value
            for leaf in _leaves(state)
        ]
        nnx.update(self.module, _replaced(state, new))

    def layers(self) -> list[Layer]:
        return nnx_layers(self.module)

    def refuse_what_cannot_be_copied(self) -> None:
        """Mutable references, which a copy shares, and functions that hold on to weights."""
        leaves, _ = self.open()
        for leaf in leaves:
            if not isinstance(leaf.value, _HELD):
                raise UnsupportedError(
                    f"{self.name}.{leaf.name} is a {type(leaf.value).__name__}, which calls would "
                    f"write into; ug.functional takes arrays: type model = nnx.to_arrays(model)"
                )
        graph = list(nnx.iter_graph(self.module))
        held = [(joined(path), x) for path, x in graph if not isinstance(x, _NODES)]
        refuse_captured(self.name, held, [x.value for x in leaves if x.is_param], _arrays_of)
        own = {id(x) for _, x in graph if isinstance(x, nnx.Variable)}

        def is_own(x: Any) -> bool:
            parts = (y for _, y in nnx.iter_graph(x)) if isinstance(x, _NODES) else ()
            return any(id(y) in own for y in parts)

        classes = {type(x): None for _, x in graph if isinstance(x, nnx.Module)}
        refuse_global(self.name, classes, is_own)


def _leaves(state: Any) -> list[Leaf]:
    """The arrays of the variables, and of attributes that are arrays and no variables."""
    found = []
    for path, variable in nnx.to_flat_state(state):
        is_param = isinstance(variable, nnx.Param)
        is_statistic = isinstance(variable, nnx.BatchStat)
        for inside, x in jax.tree_util.tree_flatten_with_path(variable)[0]:
            name = joined((*path, *inside[1:]) if isinstance(variable, nnx.Variable) else path)
            found.append(Leaf(name, x, is_param and is_trainable(x), is_statistic))
    return found


def _widened(leaves: Sequence[Leaf], values: Sequence[Any]) -> list[Any]:
    """Running statistics as wide as the parameters: Flax would round the new ones to the old."""
    kinds = {str(x.dtype) for leaf, x in zip(leaves, values, strict=True) if leaf.is_param}
    if "float64" not in kinds:
        return list(values)
    return [
        jax.numpy.asarray(x, "float64") if leaf.is_statistic and x.dtype == "float32" else x
        for leaf, x in zip(leaves, values, strict=True)
    ]


def _replaced(state: Any, values: Sequence[Any]) -> Any:
    """The state with other arrays, in the order of `_leaves`: in new variables."""
    remaining = iter(values)
    flat = []
    for path, variable in nnx.to_flat_state(state):
        tree = jax.tree_util.tree_structure(variable)
        flat.append((path, tree.unflatten([next(remaining) for _ in range(tree.num_leaves)])))
    return nnx.from_flat_state(flat)


def _arrays_of(x: Any) -> list[Any]:
    held = nnx.state(x) if isinstance(x, nnx.Module) else x
    arrays: list[Any] = jax.tree_util.tree_leaves(held)
    return arrays
