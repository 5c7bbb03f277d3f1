"""What a compiled function reads beside its arguments, torch modules and objects included.

Tensors are held by the graph and read anew; what is watched here is which tensors they are, and
every number, attribute and container that tracing turned into constants.
"""

from __future__ import annotations

import functools
import types
from typing import Any, ClassVar

import numpy as np
import torch

from unigrad.surroundings import Surroundings
from unigrad.whole_surroundings import WholeSurroundings

__all__ = ["Contents", "TorchSurroundings"]

_CONSTANTS = (
    *(torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout),
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket),
)


class TorchSurroundings(WholeSurroundings):
    """The surroundings of a function of tensors."""

    libraries: ClassVar[frozenset[str]] = Surroundings.libraries | {
        *("torch", "einops", "jaxtyping", "typing_extensions")
    }

    def __init__(self, f: Any) -> None:
        self._tensors: list[torch.Tensor] = []
        self._classes: list[type] = []
        self._members: list[tuple[Any, Any]] = []
        super().__init__(f)
        self._metadata = list(map(_described, self._tensors))

    def unchanged(self) -> bool:
        return super().unchanged() and list(map(_described, self._tensors)) == self._metadata

    def other(self, value: Any) -> None:
        if isinstance(value, _CONSTANTS):
            return
        if isinstance(value, torch.Tensor):
            self._seen.add(id(value))
            self._tensors.append(value)
            self.container(value.__dict__)
        elif isinstance(value, torch.Generator):
            self.refuse(value)
        else:
            super().other(value)

    def class_(self, kind: type) -> None:
        self._classes += [base for base in kind.__mro__ if base.__flags__ & _HEAP]
        super().class_(kind)

    def attributes(self, value: Any) -> None:
        for base in type(value).__mro__ if not isinstance(value, type) else ():
            for slot in vars(base).values() if base.__flags__ & _HEAP else ():
                if type(slot) is types.MemberDescriptorType:
                    self._members.append((value, slot))
                    self.place(functools.partial(_slot, value, slot))
        super().attributes(value)

    def contents(self) -> Contents:
        """A copy of what is compared, but not held, here."""
        return Contents(
            self._tensors, [x for x, _ in self._arrays], dict.fromkeys(self._classes), self._members
        )


class Contents:
    """What a function may write while it is traced, and how it was before: to be put back."""

    def __init__(self, tensors: Any, arrays: Any, classes: Any, slots: Any) -> None:
        self._grads = [(x, x.grad) for x in tensors if x.is_leaf]
        self._arrays = [(x, x.copy()) for x in arrays if x.flags.writeable]
        self._classes = [(kind, dict(vars(kind))) for kind in classes]
        self._slots = [(x, slot, _slot(x, slot)) for x, slot in slots]

    def unchanged(self) -> bool:
        """Whether gradients are the same; the rest is compared by the surroundings."""
        return all(x.grad is grad for x, grad in self._grads)

    def restore(self) -> None:
        for x, grad in self._grads:
            if x.grad is not grad:
                x.grad = grad
        for array, before in self._arrays:
            if array.dtype.hasobject or array.tobytes() != before.tobytes():
                np.copyto(array, before)
        for kind, attributes in self._classes:
            for name in [*vars(kind)]:
                if name not in attributes:
                    type.__delattr__(kind, name)
            for name, value in attributes.items():
                if vars(kind).get(name, _UNSET) is not value:
                    type.__setattr__(kind, name, value)
        for x, slot, before in self._slots:
            if _slot(x, slot) is not before:
                slot.__delete__(x) if before is _UNSET else slot.__set__(x, before)


_UNSET = object()

_HEAP = 1 << 9
"""The flag of a class that a Python statement made."""


def _slot(x: Any, slot: Any) -> Any:
    try:
        return slot.__get__(x)
    except AttributeError:
        return _UNSET


def _described(x: torch.Tensor) -> Any:
    return x.requires_grad, x.shape, x.dtype, x.device
