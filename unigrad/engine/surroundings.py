"""What a function reads beside its arguments: a recording holds only as long as that is the same.

Closures, globals, defaults and the attributes of a method's object are looked through for arrays,
numbers and small containers of them. NumPy cannot show what is computed from a captured array
before it meets a recorded one, so the array itself is watched.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unigrad.engine.constants import fingerprint

__all__ = ["Surroundings", "stamp"]

_LIBRARIES = ("numpy", "scipy", "unigrad", "array_api_compat", "optree")
_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))
LONGEST = 256
"""Containers of more entries are not looked through."""


def stamp(x: np.ndarray[Any, Any]) -> Any:
    """What tells whether an array was written."""
    if x.dtype.hasobject:
        return [id(y) for y in x.flat]
    return x.tobytes() if x.nbytes <= 4096 else fingerprint(x)


class Surroundings:
    """The surroundings of one function, as they are now."""

    __slots__ = ("_arrays", "_generators", "_places", "_seen")

    def __init__(self, f: Any) -> None:
        self._arrays: list[tuple[np.ndarray[Any, Any], Any]] = []
        self._places: list[tuple[Callable[[], Any], Any]] = []
        self._generators: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        self._function(f)

    def unchanged(self) -> bool:
        """Whether all of it is the same."""
        for get, before in self._places:
            now = get()
            if now is not before and not (type(now) is type(before) and _same(now, before)):
                return False
        return all(stamp(x) == before for x, before in self._arrays)

    def drew(self) -> bool:
        """Whether one of the random generators was used."""
        return any(g.bit_generator.state != before for g, before in self._generators)

    # ---------------------------------------------------------------- looking around

    def _function(self, f: Any) -> None:
        while hasattr(f, "__wrapped__"):
            f = f.__wrapped__
        if isinstance(f, functools.partial):
            self._value(f.func)
            for value in (*f.args, *f.keywords.values()):
                self._value(value)
        elif isinstance(f, types.MethodType):
            self._function(f.__func__)
            self._attributes(f.__self__)
        elif isinstance(f, types.FunctionType):
            if id(f) in self._seen:
                return
            self._seen.add(id(f))
            if (f.__module__ or "").startswith(_LIBRARIES):
                for cell in f.__closure__ or ():  # the user's functions that ours are made of
                    if callable(_content(cell)):
                        self._function(_content(cell))
                return
            for cell in f.__closure__ or ():
                self._place(functools.partial(_content, cell))
            for name in _names(f.__code__):
                if name in f.__globals__:
                    self._place(functools.partial(f.__globals__.get, name))
            for value in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
                self._value(value)

    def _place(self, get: Callable[[], Any]) -> None:
        value = get()
        if not isinstance(value, (type, types.ModuleType)):
            self._places.append((get, value))
            self._value(value)

    def _value(self, value: Any) -> None:
        if isinstance(value, _NUMBERS) or id(value) in self._seen:
            return
        if isinstance(value, np.ndarray):
            self._seen.add(id(value))
            self._arrays.append((value, stamp(value)))
        elif isinstance(value, np.random.Generator):
            self._seen.add(id(value))
            self._generators.append((value, value.bit_generator.state))
        elif type(value) in (list, tuple, dict, set):
            self._container(value)
        elif callable(value):
            self._function(value)

    def _container(self, value: Any) -> None:
        self._seen.add(id(value))
        if len(value) > LONGEST:
            return
        self._places.append((functools.partial(_entries, value), _entries(value)))
        for entry in _entries(value):
            self._value(entry)

    def _attributes(self, owner: Any) -> None:
        for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
            self._places.append((functools.partial(getattr, owner, name, None), value))
            self._value(value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable is not bound yet
        return None


def _entries(value: Any) -> list[Any]:
    if type(value) is dict:
        return [*value.keys(), *value.values()]
    return sorted(value, key=id) if type(value) is set else list(value)


def _same(now: Any, before: Any) -> bool:
    if isinstance(before, _NUMBERS):
        return bool(now == before) or (now != now and before != before)
    if type(before) is list:
        return len(now) == len(before) and all(
            a is b or (isinstance(b, _NUMBERS) and type(a) is type(b) and _same(a, b))
            for a, b in zip(now, before, strict=True)
        )
    return False


def _names(code: types.CodeType) -> Iterator[str]:
    """The globals that a function, and those defined inside it, may read."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
