"""What a function reads beside its arguments: a recording holds only as long as that is the same.

Closures, globals, defaults and the attributes of a method's object are looked through for arrays,
numbers and small containers of them. Adapters look into more kinds of objects: see `other`.
"""

from __future__ import annotations

import dis
import functools
import types
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

__all__ = ["Surroundings", "fingerprint", "root", "stamp"]

_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))
_FIXED = (tuple, frozenset)
_FOLLOWED = (types.FunctionType, types.MethodType, functools.partial, types.ModuleType, type)
LONGEST = 256
"""Containers of more entries are not looked through."""


def fingerprint(x: np.ndarray[Any, Any]) -> int:
    """A number that changes when ``x`` is written: weighted sums of its bits."""
    bits = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    width = _WEIGHTS.size
    rows = bits.size // (8 * width)
    whole = 8 * width * rows
    sums = bits[:whole].view(np.uint64).reshape(rows, width) @ _WEIGHTS
    return zlib.crc32(bits[whole:].tobytes(), zlib.crc32(sums.tobytes()))


_WEIGHTS = np.arange(1, 8192, 2, dtype=np.uint64)


def stamp(x: np.ndarray[Any, Any]) -> Any:
    """What tells whether an array was written."""
    if x.dtype.hasobject:
        return [id(y) for y in x.flat]
    return x.tobytes() if x.nbytes <= 4096 else fingerprint(x)


class Surroundings:
    """The surroundings of one function, as they are now.

    Attributes:
        libraries: functions of these packages are followed to the user's functions only.
    """

    libraries: ClassVar[frozenset[str]] = frozenset(
        {
            *("numpy", "scipy", "array_api_compat", "optree", "unigrad", "unigrad_numpy"),
            *("unigrad_torch", "unigrad_tensorflow", "unigrad_jax", "unigrad_mxnet"),
        }
    )

    def __init__(self, f: Any) -> None:
        self._arrays: list[tuple[np.ndarray[Any, Any], Any]] = []
        self._places: list[tuple[Callable[[], Any], Any, Callable[[Any], None] | None]] = []
        self._containers: list[tuple[Any, Callable[[Any], list[Any]], list[Any], list[int]]] = []
        self._empty: list[Any] = []
        self._generators: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        self.value(f)

    def unchanged(self) -> bool:
        """Whether all of it is the same."""
        if any(self._empty):
            return False
        for get, before, _ in self._places:
            now = get()
            if now is not before and not _same(now, before):
                return False
        for container, entries, held, ids in self._containers:
            now = entries(container)
            if list(map(id, now)) != ids and not _same(now, held):
                return False
        return all(stamp(x) == before for x, before in self._arrays)

    def drew(self) -> bool:
        """Whether one of the random generators was used."""
        return any(g.bit_generator.state != before for g, before in self._generators)

    def restore(self) -> None:
        """Put back what a call of the function wrote: names, containers, generators."""
        for get, before, put in self._places:
            now = get()
            if put is not None and now is not before and not _same(now, before):
                put(before)
        for container, entries, held, _ in self._containers:
            if not _same(entries(container), held):
                _put_back(container, held)
        for container in self._empty:
            container.clear()
        for generator, state in self._generators:
            generator.bit_generator.state = state

    # ---------------------------------------------------------------- looking around

    def value(self, value: Any) -> None:
        """Look into a value that the function may read."""
        if isinstance(value, _NUMBERS) or id(value) in self._seen:
            return
        if isinstance(value, np.ndarray):
            self._seen.add(id(value))
            self._arrays.append((value, stamp(value)))
        elif isinstance(value, np.random.Generator):
            self._seen.add(id(value))
            self._generators.append((value, value.bit_generator.state))
        elif type(value) in (list, tuple, dict, set):
            self.container(value)
        elif isinstance(value, types.FunctionType):
            self.function(value)
        elif isinstance(value, functools.partial):
            self._seen.add(id(value))
            for part in (value.func, value.args, value.keywords):
                self.value(part)
        elif isinstance(value, types.MethodType):
            self.function(value.__func__)
            self.owner(value.__self__)
        else:
            self.other(value)

    def other(self, value: Any) -> None:
        """Look into an object of any other kind: one made from a function leads to that."""
        wrapped = getattr(value, "__wrapped__", None)
        if callable(value) and wrapped is not None:
            self.value(wrapped)

    def owner(self, owner: Any) -> None:
        """Look into the object whose method this is."""
        for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
            get = functools.partial(getattr, owner, name, None)
            self._places.append((get, value, functools.partial(setattr, owner, name)))
            self.value(value)

    def argument(self, value: Any) -> None:
        """Look into an argument that is no array: an object as the owner of a method."""
        if isinstance(value, _FOLLOWED) or not hasattr(value, "__dict__"):
            self.value(value)
        else:
            self.owner(value)

    def function(self, f: Any) -> None:
        """Look into what a function of Python's own kind reads."""
        if not isinstance(f, types.FunctionType):
            self.value(f)
            return
        if id(f) in self._seen:
            return
        self._seen.add(id(f))
        if root(f.__module__) in self.libraries:
            # the user's functions that ours are made of
            for content in (f.__dict__.get("__wrapped__"), *map(_content, f.__closure__ or ())):
                if callable(content):
                    self.value(content)
            for argument in f.__dict__.get("arguments", ()):
                self.argument(argument)
            return
        self.value(f.__dict__.get("__wrapped__"))
        for cell in f.__closure__ or ():
            get = functools.partial(_content, cell)
            self.place(get, functools.partial(setattr, cell, "cell_contents"), f.__code__)
        for name in _globals(f.__code__):
            if name in f.__globals__:
                get = functools.partial(f.__globals__.get, name)
                put = functools.partial(f.__globals__.__setitem__, name)
                self.place(get, put, f.__code__)
        for value in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.value(value)

    def place(
        self,
        get: Callable[[], Any],
        put: Callable[[Any], None] | None = None,
        reader: types.CodeType | None = None,
    ) -> None:
        """Watch what a name stands for, and look into it.

        Args:
            reader: the code that reads it.
        """
        value = get()
        if not isinstance(value, (type, types.ModuleType)):
            self._places.append((get, value, put))
            self.value(value)

    def container(self, value: Any) -> None:
        """Watch the entries of a container, and look into them."""
        self._seen.add(id(value))
        if len(value) > LONGEST:
            return
        if not isinstance(value, _FIXED) and not value:
            self._empty.append(value)
            return
        entries: Callable[[Any], list[Any]] = list
        if isinstance(value, dict):
            entries = _items
        elif isinstance(value, set | frozenset):
            entries = _sorted
        held = entries(value)
        if not isinstance(value, _FIXED):
            self._containers.append((value, entries, held, list(map(id, held))))
        for entry in held:
            self.value(entry)


def root(module: Any) -> str:
    """The package of a module, by its name; a class may have something else in its place."""
    return module.partition(".")[0] if isinstance(module, str) else ""


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable is not bound yet
        return None


def _items(value: Any) -> list[Any]:
    return [*value, *value.values()]


def _sorted(value: Any) -> list[Any]:
    return sorted(value, key=id)


def _put_back(value: Any, entries: list[Any]) -> None:
    value.clear()
    if isinstance(value, dict):
        half = len(entries) // 2
        value.update(zip(entries[:half], entries[half:], strict=True))
    elif isinstance(value, set):
        value.update(entries)
    else:
        value.extend(entries)


def _same(now: Any, before: Any) -> bool:
    if type(now) is not type(before):
        return False
    if isinstance(before, _NUMBERS):
        if now == before:
            return now != 0 or repr(now) == repr(before)  # 0.0 is not -0.0
        return bool(now != now and before != before)
    if type(before) is list:
        if len(now) != len(before):
            return False
        return all(
            a is b or (isinstance(b, _NUMBERS) and _same(a, b))
            for a, b in zip(now, before, strict=True)
        )
    return False


@functools.lru_cache(maxsize=1024)
def _globals(code: types.CodeType) -> tuple[str, ...]:
    """The globals that a function, and those defined inside it, may read."""
    found = dict.fromkeys(
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    )
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(_globals(constant)))
    return tuple(found)
