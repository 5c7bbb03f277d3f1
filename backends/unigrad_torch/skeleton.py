"""A private copy of a module tree around other tensors; the tree itself is only read.

Modules and the Python containers in them are new objects; whatever in them refers to a module,
parameter or buffer of the tree refers to its counterpart. Trap: ``torch.func.functional_call``
swaps tensors in the user's own module, which two threads see, and misses lists of weights.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
import torch._subclasses

__all__ = ["Skeleton", "address"]

Tensor: TypeAlias = torch.Tensor


class Skeleton:
    """The copies of one call, by the identity of what they stand for.

    Attributes:
        copies: tensors to begin with; then modules, containers and plain tensors as well.
        stale: attributes that may be computed from the tree's own tensors, which hooks
            compute them anew (weight norm); used as they are, they would be constants.
    """

    def __init__(self, copies: dict[int, Any], own: Iterable[Tensor]) -> None:
        self.copies = copies
        self.stale: list[Tensor] = []
        self._own = own
        self._addresses: set[int] | None = None

    def module(self, old: torch.nn.Module) -> torch.nn.Module:
        known = self.copies.get(id(old))
        if known is not None:
            return known
        cls = type(old)
        new = object.__new__(cls)
        self.copies[id(old)] = new
        attributes = {}
        for name, value in old.__dict__.items():
            kind = type(value)
            if kind in _PLAIN:
                attributes[name] = value
            elif name in _HOOKS and not value:
                attributes[name] = kind()
            else:
                attributes[name] = self.value(value)
        # A compiled call would run the module that it was compiled from.
        attributes["_compiled_call_impl"] = None
        object.__setattr__(new, "__dict__", attributes)
        return new

    def value(self, old: Any) -> Any:
        """The counterpart of anything that a module holds; what is of no known kind, itself."""
        if isinstance(old, torch.Tensor):
            return self._tensor(old)
        if isinstance(old, torch.nn.Module):
            return self.module(old)
        make = _CONTAINERS.get(type(old))
        if make is None:
            return old
        known = self.copies.get(id(old))
        if known is not None:
            return known
        return make(self, old)

    def _tensor(self, old: Tensor) -> Tensor:
        known = self.copies.get(id(old))
        if known is not None:
            return known
        if isinstance(old, torch.nn.Parameter):  # of a module that is not registered in the tree
            return old
        if old.grad_fn is not None or self._shares(old):
            self.stale.append(old)
            return old
        copy = self.copies[id(old)] = old.clone()
        return copy

    def _shares(self, old: Tensor) -> bool:
        """Whether this lies in the memory of one of the tree's own tensors."""
        if torch.compiler.is_compiling():
            return False
        if self._addresses is None:
            self._addresses = {address(x) for x in self._own} - {0}
        return address(old) in self._addresses

    def _list(self, old: Any) -> Any:
        new = self.copies[id(old)] = old.copy()
        if not _PLAIN.issuperset(map(type, old)):
            for k, x in enumerate(old):
                new[k] = self.value(x)
        return new

    def _dict(self, old: Any) -> Any:
        new = self.copies[id(old)] = old.copy()
        if not _PLAIN.issuperset(map(type, old.values())):
            for k, x in old.items():
                new[k] = self.value(x)
        return new

    def _numbers(self, old: Any) -> Any:
        new = self.copies[id(old)] = old.copy()
        return new

    def _tuple(self, old: tuple[Any, ...]) -> tuple[Any, ...]:
        if _PLAIN.issuperset(map(type, old)):
            return old
        return tuple([self.value(x) for x in old])

    def _set(self, old: set[Any]) -> set[Any]:
        new = self.copies[id(old)] = {self.value(x) for x in old}
        return new

    def _method(self, old: types.MethodType) -> types.MethodType:
        owner = self.value(old.__self__)
        return old if owner is old.__self__ else types.MethodType(old.__func__, owner)

    def _partial(self, old: functools.partial[Any]) -> functools.partial[Any]:
        keywords = self._dict(old.keywords)
        return functools.partial(self.value(old.func), *self._tuple(old.args), **keywords)

    def _reference(self, old: weakref.ref[Any]) -> weakref.ref[Any]:
        target = self.copies.get(id(old()))
        return old if target is None else weakref.ref(target)


def address(x: Tensor) -> int:
    """Where a tensor's memory begins; 0 if it has none. Traced tensors have a storage only."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    if x.layout is not torch.strided:
        return 0
    storage = x.untyped_storage()
    traced = isinstance(x, torch._subclasses.FakeTensor)
    found: int = storage._cdata if traced else storage.data_ptr()
    return found


_PLAIN = frozenset(
    {
        *(bool, int, float, complex, str, bytes, type(None), type, types.FunctionType),
        *(types.BuiltinFunctionType, torch.dtype, torch.device, torch.Size),
    }
)

_HOOKS = vars(torch.nn.Module()).keys() - {"training"}

_CONTAINERS: dict[type, Callable[[Skeleton, Any], Any]] = {
    list: Skeleton._list,
    deque: Skeleton._list,
    dict: Skeleton._dict,
    OrderedDict: Skeleton._dict,
    Counter: Skeleton._dict,
    np.ndarray: Skeleton._numbers,
    defaultdict: Skeleton._dict,
    tuple: Skeleton._tuple,
    set: Skeleton._set,
    types.MethodType: Skeleton._method,
    functools.partial: Skeleton._partial,
    weakref.ref: Skeleton._reference,
}
