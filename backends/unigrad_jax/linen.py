"""Flax linen modules with their variables as functions of the collection ``params``.

Linen has no mode of its own: its authors give ``__call__`` an argument such as ``train``, which
is set where it exists. A model without one has the mode set in each of its layers instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax
import flax.errors
import jax
from flax import linen

from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, StructureError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.stateless import Mode, ModelOptions
from unigrad_jax.linen_layers import linen_layers
from unigrad_jax.models import JaxModel, Leaf, Rebuild, flags, is_trainable, key_of, switches
from unigrad_jax.names import joined

__all__ = ["LinenModel", "read_linen"]


def read_linen(model: Any, options: ModelOptions, backend: Backend) -> LinenModel | None:
    """A pair (module, variables) or a bound module; ``None`` if it is neither."""
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], linen.Module):
        module, variables = model
        if not isinstance(variables, Mapping) or (variables and "params" not in variables):
            raise StructureError(
                f"{type(module).__name__} needs its variables, a dict with 'params', as "
                f"module.init gives them; type: ug.functional((module, {{'params': params}}))"
            )
        return LinenModel(module, lambda: variables, {}, options, backend)
    if not isinstance(model, linen.Module):
        return None
    if model.scope is None:
        raise UnsupportedError(
            f"{type(model).__name__} is a linen module without weights; type: "
            f"ug.functional((module, module.init(key, x))), or bind it first"
        )
    rngs = {name: rng.as_jax_rng() for name, rng in model.scope.rngs.items()}
    return LinenModel(model.unbind()[0], lambda: model.variables, rngs, options, backend)


class LinenModel(JaxModel):
    """A module without weights, and where its variables are read from."""

    def __init__(
        self,
        module: Any,
        variables: Callable[[], Mapping[str, Any]],
        rngs: Mapping[str, Array],
        options: ModelOptions,
        backend: Backend,
    ) -> None:
        super().__init__(type(module).__name__, options, backend)
        self.module = module
        self.variables = variables
        self.rngs = rngs

    def open(self) -> tuple[list[Leaf], Rebuild]:
        variables = flax.core.unfreeze(self.variables())
        paths, tree = jax.tree_util.tree_flatten_with_path(variables)
        return [_leaf(path, x) for path, x in paths], tree.unflatten

    def run(
        self, model: Any, inputs: tuple[Any, ...], options: dict[str, Any], seed: int | None
    ) -> tuple[Any, Callable[[], Mapping[str, Any]]]:
        if "mutable" in options:
            raise ArgumentError("mutable= is set by ug.functional(model, state='return')")
        rngs = options.pop("rngs", self.rngs)
        if seed is not None:
            rngs = {stream: key_of(seed, stream) for stream in ("dropout", "params")}
        module, asked, layers = self._in_mode(inputs, options)
        collections = [name for name in model if name != "params"]
        try:
            with layers:
                output = module.apply(
                    model, *inputs, rngs=rngs, mutable=collections or False, **options, **asked
                )
        except flax.errors.InvalidRngError as error:
            raise ArgumentError(
                f"{self.name} draws random numbers and was given no seed; type: "
                f"apply(params, x, seed=0)"
            ) from error
        if not collections:
            return output, dict
        output, after = output
        paths, _ = jax.tree_util.tree_flatten_with_path(flax.core.unfreeze(after))
        return output, lambda: {joined(path): x for path, x in paths}

    def assign(self, values: Mapping[str, Array]) -> None:
        raise UnsupportedError(
            f"{self.name} is a linen module, which keeps no weights; put the new arrays into the "
            f"dict of variables that you call it with"
        )

    def layers(self) -> list[Layer]:
        return linen_layers(flax.core.unfreeze(self.variables()))

    def _in_mode(
        self, inputs: tuple[Any, ...], options: Mapping[str, Any]
    ) -> tuple[Any, dict[str, bool], contextlib.AbstractContextManager[Any]]:
        """The module, the arguments that set its mode, and what sets that of its layers."""
        mode = self.options.mode
        if mode is None:
            return self.module, {}, contextlib.nullcontext()
        method = options.get("method") or type(self.module).__call__
        if isinstance(method, str):
            method = getattr(type(self.module), method)
        known = inspect.signature(method).parameters
        taken = flags(method, mode, (self.module, *inputs), options)
        fixed, asked = _chosen(self.module, mode, {name: known[name].default for name in taken})
        if fixed:
            return self.module.clone(**fixed), asked, contextlib.nullcontext()
        if asked:
            return self.module, asked, contextlib.nullcontext()
        return self.module, {}, linen.intercept_methods(_set_in_layers(mode))


def _leaf(path: tuple[Any, ...], x: Any) -> Leaf:
    if joined(path[:1]) == "params":
        return Leaf(joined(path[1:]), x, is_trainable(x))
    return Leaf(joined(path), x, False)


def _fields(module: Any, mode: Mode) -> dict[str, bool]:
    names = {f.name for f in dataclasses.fields(module)}
    return {name: on for name, on in switches(mode).items() if name in names}


def _chosen(
    module: Any, mode: Mode, arguments: Mapping[str, Any]
) -> tuple[dict[str, bool], dict[str, bool]]:
    """The fields and the arguments to set, as the mode wants them.

    Trap: a name that is both is set in both, but where one of them is ``None``, only in the
    other: ``merge_param``, by which layers of linen read them, refuses two.

    Args:
        module: of whose fields.
        mode: train or eval.
        arguments: the flags among the arguments of its call, with what they would be otherwise.
    """
    on = switches(mode)
    fields = {
        name: value
        for name, value in _fields(module, mode).items()
        if name not in arguments or getattr(module, name) is not None
    }
    return fields, {
        name: on[name] for name, x in arguments.items() if name not in fields or x is not None
    }


def _set_in_layers(mode: Mode) -> Callable[..., Any]:
    """An interceptor that calls every layer with its flags as the mode wants them.

    Layers are copies that belong to this call: linen clones what a module is given.
    """

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        signature = inspect.signature(type(layer).__call__)
        bound = signature.bind_partial(layer, *args, **kwargs)
        known = {name: x.default for name, x in signature.parameters.items()}
        taken = switches(mode).keys() & known.keys()
        fields, asked = _chosen(layer, mode, {k: bound.arguments.get(k, known[k]) for k in taken})
        for name, on in fields.items():
            object.__setattr__(layer, name, on)
        bound.arguments.update(asked)
        return call(*bound.args[1:], **bound.kwargs)

    return intercept
