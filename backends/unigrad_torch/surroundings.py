"""What a compiled function reads beside its arguments, torch modules and objects included.

Tensors are held by the graph and read anew; what is watched here is which tensors they are, and
every number, attribute and container that tracing turned into constants.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch

from unigrad.stateless import StatelessModel
from unigrad.surroundings import LONGEST, Surroundings, root

__all__ = ["TorchSurroundings"]

_FIELD: Any = type(vars(collections.namedtuple("Point", "x"))["x"])

_CONSTANTS = (
    *(enum.Enum, fractions.Fraction, decimal.Decimal, pathlib.PurePath, range, slice),
    *(datetime.date, datetime.time, datetime.timedelta, type(Ellipsis), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout, np.dtype),
    *(types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, np.ufunc),
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket, type(dataclasses.MISSING)),
    *(enum.EnumMeta, _FIELD),
)

_CONTAINERS = (
    *(list, tuple, dict, set, frozenset),
    *(collections.OrderedDict, collections.defaultdict, collections.deque, types.SimpleNamespace),
)

_MOST = 20_000
"""Functions that read from more places run as they are."""


class TorchSurroundings(Surroundings):
    """The surroundings of a function of tensors.

    Attributes:
        opaque: something that the function may read, and that cannot be watched.
    """

    libraries: ClassVar[frozenset[str]] = Surroundings.libraries | {
        *("torch", "einops", "jaxtyping", "typing_extensions")
    }

    def __init__(self, f: Any) -> None:
        self.opaque: Any = None
        self._tensors: list[torch.Tensor] = []
        try:
            super().__init__(f)
        except Exception as error:  # foreign objects may raise anything when they are looked at
            self.opaque = error
        self._metadata = list(map(_described, self._tensors))
        if len(self._places) + len(self._containers) > _MOST:
            self.opaque = f

    def unchanged(self) -> bool:
        return super().unchanged() and list(map(_described, self._tensors)) == self._metadata

    # ---------------------------------------------------------------- looking around

    def other(self, value: Any) -> None:
        if isinstance(value, _CONSTANTS):
            return
        self._seen.add(id(value))
        if isinstance(value, torch.Tensor):
            self._tensors.append(value)
            if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.__dict__:
                self.container(value.__dict__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, StatelessModel):
            self._attributes(value)
        elif isinstance(value, torch.nn.Module):
            self._object(value)
        elif isinstance(value, tuple):  # a named tuple
            self.container(value)
            self._class(type(value))
        elif type(value) in _CONTAINERS:
            self.container(vars(value) if type(value) is types.SimpleNamespace else value)
        elif isinstance(value, property):
            for part in (value.fget, value.fset):
                self.value(part)
        elif isinstance(value, staticmethod | classmethod):
            self.value(value.__func__)
        elif isinstance(value, functools.cached_property | functools.partialmethod):
            self.value(value.func)
        elif isinstance(value, weakref.ref):
            self.place(value)
        elif isinstance(value, random.Random):
            self._generators.append((_Twister(value), value.getstate()))
        elif isinstance(value, np.random.RandomState):
            self._generators.append((_Legacy(value), _Legacy(value).state))
        elif root(type(value).__module__) in Surroundings.libraries:
            self._ours(value)
        elif _is_standard(type(value)) or isinstance(value, torch.Generator):
            self._refuse(value)
        else:
            self._object(value)

    def owner(self, owner: Any) -> None:
        self.value(owner)

    def place(
        self,
        get: Callable[[], Any],
        put: Callable[[Any], None] | None = None,
        reader: types.CodeType | None = None,
    ) -> None:
        value = get()
        self._places.append((get, value, put))
        if isinstance(value, types.ModuleType):
            self._module(value, () if reader is None else _all_names(reader))
        else:
            self.value(value)

    def container(self, value: Any) -> None:
        if len(value) > LONGEST:
            self._refuse(value)
        else:
            super().container(value)

    def _refuse(self, value: Any) -> None:
        self.opaque = value if value is not None else type(value)

    def _module(self, module: types.ModuleType, names: tuple[str, ...]) -> None:
        """A module of the user's: those of its names that the function mentions."""
        package = root(module.__name__)
        if package in self.libraries or package in sys.stdlib_module_names:
            return
        for name in names:
            if name in vars(module) and (id(module), name) not in self._named:
                self._named.add((id(module), name))
                content = vars(module)
                get, put = functools.partial(content.get, name), content.__setitem__
                value = get()
                self._places.append((get, value, functools.partial(put, name)))
                if isinstance(value, types.ModuleType):
                    self._module(value, names)
                else:
                    self.value(value)

    @functools.cached_property
    def _named(self) -> set[tuple[int, str]]:
        return set()

    def _class(self, kind: type) -> None:
        """The attributes and methods of a class of the user's."""
        for base in kind.__mro__:
            if _is_standard(base) or root(base.__module__) in self.libraries:
                continue
            if base is not kind and id(base) in self._seen:
                continue
            self._seen.add(id(base))
            content = [x for name, x in vars(base).items() if _is_read(name, x)]
            self._places.append((functools.partial(_content, base), content, None))
            for x in content:
                self.value(x)

    def _object(self, value: Any) -> None:
        """An object of a class written in Python."""
        self._attributes(value)
        if id(type(value)) not in self._seen:
            self._class(type(value))

    def _attributes(self, value: Any) -> None:
        known = False
        for name in _slots(type(value)):
            known = True
            self.place(functools.partial(getattr, value, name, None))
        if hasattr(value, "__dict__"):
            known = True
            self.container(vars(value))
        if not known:
            self._refuse(value)

    def _ours(self, value: Any) -> None:
        """One of unigrad's own objects: the user's functions and models in it."""
        parts = [getattr(value, name, None) for name in _slots(type(value))]
        if hasattr(value, "__dict__"):
            get = functools.partial(_functions, vars(value))
            self._places.append((get, get(), None))
            parts += vars(value).values()
        for part in parts:
            if isinstance(part, StatelessModel) or callable(part):
                self.value(part)


class _Twister:
    """Python's generator, as the core watches NumPy's."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self.bit_generator = self

    @property
    def state(self) -> Any:
        return self._generator.getstate()

    @state.setter
    def state(self, state: Any) -> None:
        self._generator.setstate(state)


class _Legacy:
    """NumPy's old generator; its state holds an array, which compares by its bytes."""

    def __init__(self, generator: np.random.RandomState) -> None:
        self._generator = generator
        self.bit_generator = self

    @property
    def state(self) -> Any:
        found: Any = self._generator.get_state(legacy=True)
        name, keys, *rest = found
        return (name, keys.tobytes(), *rest)

    @state.setter
    def state(self, state: Any) -> None:
        name, keys, *rest = state
        self._generator.set_state((name, np.frombuffer(keys, np.uint32), *rest))


def _described(x: torch.Tensor) -> Any:
    return x.requires_grad, x.shape, x.dtype, x.device


def _is_standard(kind: type) -> bool:
    return root(kind.__module__) in sys.stdlib_module_names


def _is_read(name: str, value: Any) -> bool:
    if name.startswith("_abc_"):
        return False
    return not (name.startswith("__") and name.endswith("__")) or callable(value)


def _content(kind: type) -> list[Any]:
    return [x for name, x in vars(kind).items() if _is_read(name, x)]


def _functions(attributes: dict[str, Any]) -> list[Any]:
    return [x for x in attributes.values() if callable(x)]


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__"):
                yield name


@functools.lru_cache(maxsize=1024)
def _all_names(code: types.CodeType) -> tuple[str, ...]:
    """The names that code, and the functions inside it, mention."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(_all_names(constant)))
    return tuple(found)
