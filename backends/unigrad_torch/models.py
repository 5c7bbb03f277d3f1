"""A ``torch.nn.Module`` as a function of its parameters; the module itself is only read (S16).

Every call runs a private copy of the module tree that holds the given tensors, so that two
threads may run one model on different weights, and what forward() writes is dropped.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch.nn.utils import parametrize

from unigrad.errors import ArgumentError, StructureError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.stateless import ModelOptions, StatelessModel
from unigrad_torch.guard import Guard
from unigrad_torch.layers import layers_of
from unigrad_torch.skeleton import Skeleton

__all__ = ["TorchModel"]

Tensor: TypeAlias = torch.Tensor


class TorchModel(StatelessModel):
    """One ``torch.nn.Module``.

    Raises:
        UnsupportedError: for a module whose weights cannot be replaced, or that has none yet.
    """

    def __init__(self, model: torch.nn.Module, options: ModelOptions) -> None:
        if isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        _refuse(model)
        self.name = type(model).__name__
        self._model = model
        self._mode = options.mode
        own = self._own()
        self._names = frozenset(own)
        self._dressed = frozenset(name for name, x in own.items() if _dressed(x))
        self._params = frozenset(
            name
            for name, p in model.named_parameters()
            if p.requires_grad or not options.trainable_only
        )

    def params(self) -> dict[str, Tensor]:
        return {n: p.detach() for n, p in self._model.named_parameters() if n in self._params}

    def state(self) -> dict[str, Tensor]:
        return {n: x.detach() for n, x in self._own().items() if n not in self._params}

    def call(
        self,
        params: Mapping[str, Tensor],
        state: Mapping[str, Tensor] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Tensor]]:
        own = self._own()
        if self._mode is not None and "training" in options:
            raise ArgumentError(
                f"apply of {self.name} was called with training={options['training']!r}, but "
                f"mode={self._mode!r} is set in ug.functional(mode=); type mode=None there"
            )
        if own.keys() != self._names:
            raise StructureError(_changed(self.name, own.keys() ^ self._names))
        given = self._given(own, params, state)
        skeleton = Skeleton({id(x): given[name] for name, x in own.items()}, own.values())
        module = skeleton.module(self._model)
        if parametrize._cache_enabled and any(map(parametrize.is_parametrized, module.modules())):
            raise UnsupportedError(
                f"{self.name} is parametrized, and torch.nn.utils.parametrize.cached() would "
                f"keep the weights of other calls; call apply outside of it"
            )
        weights = [x for n, x in given.items() if isinstance(own[n], torch.nn.Parameter)]
        guard = Guard(self.name, own, weights, skeleton.stale)
        if seed is None:
            output = self._run(module, guard, inputs, options)
        else:
            with _seeded(seed, self.name, (*given.values(), *inputs, *options.values())):
                output = self._run(module, guard, inputs, options)
        return output, self._state_after(module)

    def assign(self, values: Mapping[str, Tensor]) -> None:
        own = self._own()
        with torch.no_grad():
            for name, x in values.items():
                own[name].copy_(x)

    def layers(self) -> list[Layer]:
        return layers_of(self._model)

    def _own(self) -> dict[str, Tensor]:
        """The model's own parameters and buffers; tied ones once."""
        return {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}

    def _given(
        self,
        own: Mapping[str, Tensor],
        params: Mapping[str, Tensor],
        state: Mapping[str, Tensor] | None,
    ) -> dict[str, Tensor]:
        """What stands in the place of each of the model's own tensors."""
        owned = {id(x) for x in own.values()}
        given = {}
        for name, x in own.items():
            if name in self._params:
                new = params[name]
                if new.shape != x.shape:
                    raise StructureError(_changed(self.name, [name]))
            elif isinstance(x, torch.nn.Parameter):
                new = x.detach() if state is None else state[name]
            else:
                new = x.detach().clone() if state is None else state[name].clone()
            if id(new) in owned:  # the model's own parameters were passed as they are
                new = new.view_as(new)
            if torch.compiler.is_compiling():
                if name in self._dressed:
                    raise UnsupportedError(
                        f"{self.name}: {name!r} has a class or attributes of its own, which "
                        f"torch.compile (ug.jit) would lose; call apply outside of it"
                    )
            elif _dressed(x):
                new = _like(new, x)
            given[name] = new
        return given

    def _run(
        self,
        module: torch.nn.Module,
        guard: Guard,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> Any:
        with guard:
            if self._mode is not None:
                _set_mode(module, self._mode == "train")
            output = module(*inputs, **options)
        guard.check(output)
        return output

    def _state_after(self, module: torch.nn.Module) -> dict[str, Tensor]:
        names = self._names - self._params
        if not names:
            return {}
        after = {}
        for name, p in module.named_parameters(remove_duplicate=False):
            if name in names:
                after[name] = p.detach()
        for name, b in module.named_buffers(remove_duplicate=False):
            if name in names:  # a checkpoint may run the module again, and write into it
                after[name] = b.detach().clone()
        if after.keys() != names:
            raise StructureError(_changed(self.name, names - after.keys()))
        return after


def _changed(model: str, names: Collection[str]) -> str:
    return (
        f"{model} is not as it was when ug.functional took it: {sorted(names)} came, went or "
        f"changed shape; type: apply, params = ug.functional(model) again"
    )


def _set_mode(module: torch.nn.Module, training: bool) -> None:
    """As ``train()`` or ``eval()`` would, which a model may override to keep parts frozen."""
    modules = list(module.modules())
    if torch.compiler.is_compiling() or any(map(_has_own_mode, modules)):
        if training:
            module.train()
        else:
            module.eval()
    else:
        for each in modules:
            each.__dict__["training"] = training


def _has_own_mode(module: torch.nn.Module) -> bool:
    kind = type(module)
    return (
        kind.train is not torch.nn.Module.train
        or kind.eval is not torch.nn.Module.eval
        or not module.__dict__.keys().isdisjoint(("train", "eval"))
    )


_PLAIN = (torch.nn.Parameter, torch.nn.Buffer, torch.Tensor)


def _dressed(x: Tensor) -> bool:
    """Whether a model's tensor has a class or attributes of its own; torch.compile adds some."""
    return type(x) not in _PLAIN or not all(name.startswith("_dynamo") for name in x.__dict__)


def _like(x: Tensor, own: Tensor) -> Tensor:
    """The tensor with the class and the attributes of the parameter that it stands for."""
    kind = type(own)
    new = x.view_as(x) if kind in _PLAIN else x.as_subclass(kind)
    new.__dict__.update(own.__dict__)
    return new


@contextlib.contextmanager
def _seeded(seed: int, model: str, values: Iterable[Any]) -> Iterator[None]:
    """Draws as after ``torch.manual_seed(seed)``; the streams are put back afterwards.

    Trap: torch has one stream a device for all threads. Calls with a seed wait for each other,
    but what another thread draws meanwhile without unigrad comes from this call's stream.
    """
    if torch.compiler.is_compiling():
        raise UnsupportedError(
            f"{model}: seed= inside torch.compile (ug.jit) would be the compiler's own random "
            f"stream; pass what is drawn as an input, or call apply outside"
        )
    devices = {x.device for x in values if isinstance(x, torch.Tensor)}
    generators = [torch.default_generator]
    for device in devices:
        if device.type == "cuda":
            generators.append(torch.cuda.default_generators[device.index])
        elif device.type != "cpu":
            raise UnsupportedError(
                f"{model}: seed= works on cpu and cuda, not on {device.type}; pass seed=None"
            )
    with _SEEDING:
        streams = [g.get_state() for g in generators]
        try:
            for g in generators:
                g.manual_seed(seed % 2**64)
            yield
        finally:
            for g, stream in zip(generators, streams, strict=True):
                g.set_state(stream)


_SEEDING = threading.RLock()


def _refuse(model: torch.nn.Module) -> None:
    """Refuse what cannot be copied around other weights, or has none yet."""
    for path, module in model.named_modules():
        kind = type(module)
        where = f"{repr(path) if path else 'the model'} is a {kind.__name__}"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"{where}, a ScriptModule, whose parameters cannot be replaced; pass the "
                f"nn.Module that it was made from"
            )
        if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            raise UnsupportedError(
                f"{where}, which copies its module to devices by itself; pass its .module"
            )
        if any(
            map(torch.nn.parameter.is_lazy, (*module.parameters(False), *module.buffers(False)))
        ):
            raise UnsupportedError(
                f"{where} that has no weights yet; type: model(example_input) first"
            )
        for base in kind.__mro__:
            odd = {"__slots__", "__del__"} & vars(base).keys()
            if odd and base is not object:
                raise UnsupportedError(
                    f"{where} whose class {base.__name__} defines {odd.pop()}: it cannot be "
                    f"copied; take it away, or pass a pair (apply, params) of your own"
                )
