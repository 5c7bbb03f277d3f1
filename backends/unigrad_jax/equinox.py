"""Equinox modules as functions of their floating-point arrays, by their paths in the tree.

As for Equinox itself, an array at two places is two parameters: what is tied is tied by
``eqx.nn.Shared``. Running statistics in an ``eqx.nn.State`` are an input of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox
import jax

from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.stateless import ModelOptions
from unigrad_jax.captured import refuse_captured
from unigrad_jax.equinox_layers import equinox_layers
from unigrad_jax.models import ARRAYS, JaxModel, Leaf, Rebuild, flags, key_of
from unigrad_jax.names import joined

__all__ = ["EquinoxModel", "read_equinox"]


def read_equinox(model: Any, options: ModelOptions, backend: Backend) -> EquinoxModel | None:
    """The module as its floating-point arrays and its other ones; ``None`` if it is none."""
    if not isinstance(model, equinox.Module):
        return None
    if not callable(model):
        raise UnsupportedError(
            f"{type(model).__name__} has no __call__ for ug.functional to call; give it one"
        )
    found = EquinoxModel(model, options, backend)
    found.refuse_captured()
    return found


class EquinoxModel(JaxModel):
    """A module; modules are immutable, so it is read once."""

    def __init__(self, module: Any, options: ModelOptions, backend: Backend) -> None:
        super().__init__(type(module).__name__, options, backend)
        self.module = module
        self._paths, self._tree = _flatten(module)
        self._arrays = [i for i, (_, x) in enumerate(self._paths) if isinstance(x, ARRAYS)]

    def open(self) -> tuple[list[Leaf], Rebuild]:
        leaves = []
        for i in self._arrays:
            path, x = self._paths[i]
            leaves.append(Leaf(joined(path), x, equinox.is_inexact_array(x)))

        def rebuild(values: Any) -> Any:
            all_leaves = [x for _, x in self._paths]
            for i, x in zip(self._arrays, values, strict=True):
                all_leaves[i] = x
            return self._tree.unflatten(all_leaves)

        return leaves, rebuild

    def run(
        self, model: Any, inputs: tuple[Any, ...], options: dict[str, Any], seed: int | None
    ) -> tuple[Any, Callable[[], Mapping[str, Any]]]:
        mode = self.options.mode
        if mode is not None:
            model = equinox.nn.inference_mode(model, value=mode == "eval")
        asked = flags(model, mode, inputs, options)
        asked.pop("deterministic", None)  # equinox.nn.Dropout's own, which warns
        if seed is not None and "key" in inspect.signature(model).parameters:
            if "key" in options:
                raise ArgumentError("seed= and key= both decide the draws; leave one of them out")
            options["key"] = key_of(seed, "dropout")
        return model(*inputs, **options, **asked), dict

    def assign(self, values: Mapping[str, Array]) -> None:
        raise UnsupportedError(
            f"{self.name} is an Equinox module, which is immutable; type: model = eqx.tree_at("
            f"lambda m: m.layer.weight, model, params['layer/weight'])"
        )

    def layers(self) -> list[Layer]:
        return equinox_layers(self.module)

    def refuse_captured(self) -> None:
        """Functions that hold on to weights, which a copy does not replace."""
        weights = [x.value for x in self.open()[0] if x.is_param]
        held = [(joined(path), x) for path, x in self._paths if not equinox.is_array(x)]
        refuse_captured(self.name, held, weights, jax.tree_util.tree_leaves)


def _flatten(module: Any) -> tuple[Any, Any]:
    """Running statistics stay where they are: their place in the model holds none or the first."""
    paths, tree = jax.tree_util.tree_flatten_with_path(
        module, is_leaf=lambda x: isinstance(x, equinox.nn.StateIndex)
    )
    return paths, tree
