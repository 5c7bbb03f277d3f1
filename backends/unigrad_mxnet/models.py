"""Gluon blocks as functions of their parameters, without touching the block (S16)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from unigrad.errors import ArgumentError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.stateless import ModelOptions, StatelessModel
from unigrad_mxnet.arrays import as_class, is_np, semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.layers import layers
from unigrad_mxnet.memory import copied
from unigrad_mxnet.substitution import Statistics, substituted

__all__ = ["GluonModel", "functional"]


def functional(model: Any, options: ModelOptions) -> GluonModel | None:
    """A Gluon block taken apart; ``None`` for anything else."""
    return GluonModel(model, options) if isinstance(model, mx.gluon.Block) else None


class GluonModel(StatelessModel):
    """A ``Block``, ``HybridBlock`` or ``SymbolBlock``, by the names of ``collect_params``.

    Parameters with ``grad_req="null"`` count as frozen; those that Gluon declares not to be
    differentiable, such as running statistics, are state in any case. Inputs may be ``mx.np`` or
    ``mx.nd`` arrays, whatever the block's parameters are, and so may what is given in their place;
    outputs are of the class of the inputs.
    """

    def __init__(self, block: Any, options: ModelOptions) -> None:
        self.block = block
        self.name = type(block).__name__
        self._options = options
        if options.example is not None and self._deferred():
            example = options.example
            with mx.autograd.pause(train_mode=False):
                block(*(example if isinstance(example, tuple) else (example,)))
        if self._deferred():
            raise UnsupportedError(
                f"the parameters of a {self.name} were asked for before they exist; "
                f"type: model.initialize(), then ug.functional(model, example=x), or call model(x) "
                f"once"
            )
        everything = block.collect_params()
        self._params = {name: p for name, p in everything.items() if self._differentiable(p)}
        self._state = {name: p for name, p in everything.items() if name not in self._params}
        synchronized = mx.gluon.contrib.nn.SyncBatchNorm
        if self._observes() and self._finds((synchronized, mx.gluon.SymbolBlock)):
            raise UnsupportedError(
                f"state='return' was asked of a {self.name} in mode 'train' with a SyncBatchNorm "
                f"or SymbolBlock, whose running statistics cannot be observed; "
                f"type: state='frozen'"
            )

    def _deferred(self) -> bool:
        for parameter in self.block.collect_params().values():
            try:
                parameter.data()
            except (RuntimeError, mx.gluon.parameter.DeferredInitializationError):
                return True
        return False

    def _differentiable(self, parameter: Any) -> bool:
        if not getattr(parameter, "_differentiable", True):
            return False
        if parameter.grad_req != "null":
            return True
        # A SymbolBlock does not know which of its arrays are running statistics.
        return not self._options.trainable_only and not self._finds((mx.gluon.SymbolBlock,))

    def _finds(self, kinds: tuple[type, ...]) -> bool:
        found: list[Any] = []
        self.block.apply(found.append)
        return any(isinstance(block, kinds) for block in found)

    def _observes(self) -> bool:
        return self._options.returns_state and self._options.mode != "eval"

    def params(self) -> dict[str, Any]:
        return {name: p.data().detach() for name, p in self._params.items()}

    def state(self) -> dict[str, Any]:
        return {name: p.data().detach() for name, p in self._state.items()}

    def call(
        self,
        params: Mapping[str, Any],
        state: Mapping[str, Any] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Any]]:
        if options:
            raise ArgumentError(
                f"a Gluon block takes arrays alone, got the keywords {sorted(options)}"
            )
        if seed is not None:
            raise UnsupportedError(
                "a seed was given, but MXNet's random stream cannot be put back afterwards; "
                "type: mx.random.seed(seed) before the call, and leave seed=None"
            )
        now = self.state() if state is None else dict(state)
        if self._options.mode != "eval":  # MXNet writes running statistics into its operands
            with mx.autograd.pause(train_mode=mx.autograd.is_training()):
                now = {name: copied(x) for name, x in now.items()}
        everything = {**self._params, **self._state}
        own = {name: p.data() for name, p in everything.items()}
        stand_ins = {
            id(everything[name]): _classed(x, own[name]) for name, x in {**now, **params}.items()
        }
        statistics: Statistics | None = {} if self._observes() else None
        like = next(iter(own.values()), None)
        given = inputs if like is None else _classed(inputs, like)
        # Layers ask which arrays are meant; beside mx.np inputs the parameters may be mx.nd.
        kind = semantics(like) if like is None or is_np(like) else mx.util.np_array(False)
        with kind, substituted(stand_ins, statistics), self._mode():
            output = self.block(*given)
        other = next((x for x, y in zip(inputs, given, strict=True) if x is not y), None)
        if other is not None:
            output = _classed(output, other)
        after = {name: (statistics or {}).get(id(p), now[name]) for name, p in self._state.items()}
        return output, after

    def _mode(self) -> contextlib.AbstractContextManager[Any]:
        scopes: dict[Any, Any] = {"train": mx.autograd.train_mode, "eval": mx.autograd.predict_mode}
        scope = scopes.get(self._options.mode, contextlib.nullcontext)
        entered: contextlib.AbstractContextManager[Any] = scope()
        return entered

    def assign(self, values: Mapping[str, Any]) -> None:
        everything = {**self._params, **self._state}
        for name, x in values.items():
            everything[name].set_data(x)

    def layers(self) -> list[Layer]:
        return layers(self.block)


def _classed(x: Any, like: Any) -> Any:
    """``x``, and what lists and tuples hold, in the class of ``like``: mx.np or mx.nd."""
    if isinstance(x, (list, tuple)):
        return type(x)([_classed(y, like) for y in x])
    return as_class(x, like) if isinstance(x, mx.nd.NDArray) and is_np(x) != is_np(like) else x
