"""Models of JAX's libraries as functions of their weights (S16): what they have in common.

A model is opened into leaves, called as a copy that is built from other leaves, and never written
to. The libraries are looked up among the imported modules: what is not imported has no models.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np

from unigrad.backend import Array, Backend
from unigrad.errors import ArgumentError, StructureError, UnsupportedError
from unigrad.stateless import Mode, ModelOptions, StatelessModel

__all__ = [
    "ARRAYS",
    "JaxModel",
    "Leaf",
    "Rebuild",
    "flags",
    "functional",
    "is_trainable",
    "key_of",
    "stored",
    "switches",
]

Rebuild: TypeAlias = "Callable[[Sequence[Any]], Any]"

ARRAYS = (jax.Array, jax.core.Tracer, np.ndarray, np.generic)

_TRAINING = ("train", "training", "is_training")
_INFERENCE = ("deterministic", "use_running_average", "inference")


@dataclass(frozen=True)
class Leaf:
    """One array of a model, as the model itself holds it."""

    name: str
    value: Any
    is_param: bool
    is_statistic: bool = False


def functional(model: Any, options: ModelOptions, backend: Backend) -> StatelessModel | None:
    """The model, if it is one of a library that is imported; ``None`` otherwise."""
    found: StatelessModel | None = None
    if "flax.nnx" in sys.modules:
        from unigrad_jax.nnx import read_nnx

        found = read_nnx(model, options, backend)
    if found is None and "flax.linen" in sys.modules:
        from unigrad_jax.linen import read_linen

        found = read_linen(model, options, backend)
    if found is None and "equinox" in sys.modules:
        from unigrad_jax.equinox import read_equinox

        found = read_equinox(model, options, backend)
    return found


class JaxModel(StatelessModel):
    """A model that its library opens into leaves and builds again from other ones."""

    def __init__(self, name: str, options: ModelOptions, backend: Backend) -> None:
        self.name = name
        self.options = options
        self.backend = backend

    @abstractmethod
    def open(self) -> tuple[list[Leaf], Rebuild]:
        """The present leaves, and what builds a model (not the user's own) from new values."""

    @abstractmethod
    def run(
        self, model: Any, inputs: tuple[Any, ...], options: dict[str, Any], seed: int | None
    ) -> tuple[Any, Callable[[], Mapping[str, Any]]]:
        """Call what `open` built: the output, and what gives the leaves by name after the call."""

    def params(self) -> dict[str, Array]:
        leaves, _ = self._opened()
        return {leaf.name: self._shown(leaf.value) for leaf in leaves if leaf.is_param}

    def state(self) -> dict[str, Array]:
        leaves, _ = self._opened()
        return {leaf.name: self._shown(leaf.value) for leaf in leaves if not leaf.is_param}

    def call(
        self,
        params: Mapping[str, Array],
        state: Mapping[str, Array] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Array]]:
        if seed is not None and not 0 <= seed < 2**32:
            raise ArgumentError(f"JAX takes seeds from 0 to 2**32 - 1, got {seed}")
        leaves, rebuild = self._opened()
        if params.keys() != {leaf.name for leaf in leaves if leaf.is_param}:
            raise StructureError(
                f"the parameters of {self.name} are no longer those that ug.functional found; "
                f"type: apply, params = ug.functional(model)"
            )
        given = {**(state or {}), **params}
        values = [
            stored(given[leaf.name], leaf.value) if leaf.name in given else leaf.value
            for leaf in leaves
        ]
        arrays = [x for x in (*values, *jax.tree_util.tree_leaves(inputs)) if _is_array(x)]
        with self.backend.scope(arrays) or contextlib.nullcontext():
            output, after = self.run(rebuild(values), inputs, dict(options), seed)
            before = {
                leaf.name: value
                for leaf, value in zip(leaves, values, strict=True)
                if not leaf.is_param
            }
            if not before:
                return output, {}
            found = after()
            later = {name: self._shown(found.get(name, x)) for name, x in before.items()}
            return output, {name: self.backend.stop_gradient(x) for name, x in later.items()}

    def _opened(self) -> tuple[list[Leaf], Rebuild]:
        leaves, rebuild = self.open()
        if len({leaf.name for leaf in leaves}) < len(leaves):
            names = sorted(leaf.name for leaf in leaves)
            twice = sorted({a for a, b in itertools.pairwise(names) if a == b})
            raise UnsupportedError(f"{self.name} has two arrays of one name: {twice}; rename one")
        return leaves, rebuild

    def _shown(self, value: Any) -> Array:
        """A leaf as an array that other backends know too: a random key by its data."""
        if not _is_array(value):
            return self.backend.asarray(value)
        return jax.random.key_data(value) if _is_key(value) else value


def stored(value: Array, like: Any) -> Any:
    """What ``like`` is replaced by: a random key by one of its kind."""
    if _is_array(like) and _is_key(like) and not _is_key(value):
        return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
    return value


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | jax.core.Tracer)


def _is_key(x: Array) -> bool:
    is_key: bool = jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    return is_key


def is_trainable(x: Any) -> bool:
    """Whether a leaf can be differentiated: an array of floating or complex numbers."""
    if not (_is_array(x) or isinstance(x, np.ndarray)):
        return False
    inexact: bool = jax.numpy.issubdtype(x.dtype, np.inexact)
    return inexact


def key_of(seed: int, stream: str) -> Array:
    """The random key of one stream of draws: dropout's is ``jax.random.key(seed)`` itself."""
    key = jax.random.key(seed)
    if stream == "dropout":
        return key
    return jax.random.fold_in(key, zlib.crc32(stream.encode()))


def flags(
    called: Callable[..., Any],
    mode: Mode | None,
    inputs: tuple[Any, ...],
    options: Mapping[str, Any],
) -> dict[str, bool]:
    """The arguments by which the author of a model lets its caller set the mode.

    Raises:
        ArgumentError: if the user sets one of them, too.
    """
    if mode is None:
        return {}
    signature = inspect.signature(called)
    found = {name: is_on for name, is_on in switches(mode).items() if name in signature.parameters}
    if found:
        positional = list(signature.parameters)[: len(inputs)]
        clash = sorted(name for name in found if name in options or name in positional)
        if clash:
            raise ArgumentError(
                f"{clash[0]!r} is set by ug.functional(..., mode={mode!r}); leave it out here, or "
                f"type: ug.functional(model, mode=None)"
            )
    return found


def switches(mode: Mode) -> dict[str, bool]:
    """What the flags that authors use are in this mode."""
    training = mode == "train"
    return {**dict.fromkeys(_TRAINING, training), **dict.fromkeys(_INFERENCE, not training)}
