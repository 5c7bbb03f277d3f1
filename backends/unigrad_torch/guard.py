"""What a model may not do while it runs on given weights: use, or write into, its own.

A closure, a global or a cached copy that refers to the model's own weight would be a constant
in every derivative, silently. Each torch call of the model is looked at for such operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional

from unigrad.errors import UnsupportedError
from unigrad_torch.formulas import weight_norm
from unigrad_torch.skeleton import address

__all__ = ["Guard"]

Tensor: TypeAlias = torch.Tensor


class Guard(torch.overrides.TorchFunctionMode):
    """``with Guard(...):`` around the model's call.

    Args:
        model: its name, for messages.
        own: the model's own tensors, by name: not to be used.
        given: the weights that stand in their place: not to be written into.
        stale: cached tensors that may depend on the model's own: not to be used.
    """

    def __init__(
        self,
        model: str,
        own: Mapping[str, Tensor],
        given: Sequence[Tensor],
        stale: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.model = model
        self.own, self.given, self.stale = own, given, stale
        self.ids = {id(x) for x in (*own.values(), *stale)}
        self.memory: set[int] | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        ids = self.ids
        for x in args:
            if id(x) in ids or ((type(x) is list or type(x) is tuple) and self._any_own(x)):
                self._refuse_own(func, args)
        if kwargs:
            if self._any_own(kwargs.values()):
                self._refuse_own(func, kwargs.values())
            if kwargs.get("out") is not None:
                self._refuse_write(kwargs["out"])
        name = func.__name__
        if name[-1] == "_" and (name[-2] != "_" or name in _IN_PLACE) and args:
            self._refuse_write(args[0])
        elif func in _RENORMS and (kwargs.get("max_norm") or args[3:4] not in ((), (None,))):
            raise UnsupportedError(
                f"{self.model}: an embedding with max_norm writes into its own weights; type: "
                f"torch.renorm in the model in its place"
            )
        elif func is torch._weight_norm:
            return weight_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def check(self, output: Any) -> None:
        """Refuse an output that is one of the model's own tensors."""
        values = output.values() if isinstance(output, dict) else output
        ys = list(values) if isinstance(output, (dict, list, tuple)) else [output]
        if self._any_own(ys):
            self._refuse_own(None, ys)

    def _any_own(self, xs: Iterable[Any]) -> bool:
        if torch.compiler.is_compiling():  # it compares no ids of what was made inside
            return any(x is own for x in xs for own in (*self.own.values(), *self.stale))
        return not self.ids.isdisjoint(map(id, xs))

    def _refuse_own(self, func: Callable[..., Any] | None, operands: Iterable[Any]) -> None:
        if func in _METADATA:
            return
        flat = [y for x in operands for y in (x if isinstance(x, (list, tuple)) else (x,))]
        used = [name for name, own in self.own.items() if any(own is y for y in flat)]
        what = f"its own {', '.join(map(repr, used))}" if used else "a tensor kept from before"
        raise UnsupportedError(
            f"{self.model} uses {what} rather than what was given "
            f"to apply, so that derivatives would miss it: a closure, a global, an object or a "
            f"cached copy refers to it; let forward() read it as an attribute of its module"
        )

    def _refuse_write(self, target: Any) -> None:
        """Refuse if the target lies in memory of the weights, the model's or the given ones."""
        for x in target if isinstance(target, (list, tuple)) else (target,):
            if isinstance(x, torch.Tensor) and self._is_kept(x):
                raise UnsupportedError(
                    f"{self.model} writes in place into its own weights or buffers while it "
                    f"runs (as forward(), train() or a hook may do), which a function of the "
                    f"weights cannot; do it outside, before ug.functional"
                )

    def _is_kept(self, x: Tensor) -> bool:
        kept = (*self.own.values(), *self.given)
        if torch.compiler.is_compiling():  # it follows no addresses
            return any(x is y for y in kept)
        if self.memory is None:
            self.memory = {address(y) for y in kept} - {0}
        return address(x) in self.memory


_IN_PLACE = frozenset(
    f"__{name}__"
    for name in (
        *("setitem", "set", "iadd", "isub", "imul", "idiv", "itruediv", "ifloordiv", "imod"),
        *("ipow", "iand", "ior", "ixor", "ilshift", "irshift"),
    )
)

_RENORMS = frozenset({torch.nn.functional.embedding, torch.nn.functional.embedding_bag})

_METADATA = frozenset(
    {
        *(
            getattr(Tensor, name).__get__
            for name in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf")
        ),
        *(
            getattr(Tensor, name)
            for name in ("size", "dim", "numel", "stride", "__len__", "is_contiguous")
        ),
        *(getattr(Tensor, name) for name in ("is_floating_point", "is_complex", "__hash__")),
    }
)
