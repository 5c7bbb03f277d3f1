"""What a compiled function reads beside its arguments: objects, classes and modules included.

Every number, attribute and container that a compilation turns into constants is watched; what
cannot be watched (an iterator, a clock, the environment, a container of too many entries) is said
to be opaque, and a function that may read it is not to be compiled.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import dis
import enum
import fractions
import functools
import pathlib
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unigrad.stateless import StatelessModel
from unigrad.surroundings import LONGEST, Surroundings, root

__all__ = ["WholeSurroundings", "names_in"]

_FIELD: Any = type(vars(collections.namedtuple("Point", "x"))["x"])
_MARKS: Any = (type(dataclasses.MISSING), vars(dataclasses)["_HAS_DEFAULT_FACTORY_CLASS"])

_CONSTANTS = (
    *(enum.Enum, fractions.Fraction, decimal.Decimal, pathlib.PurePath, range, slice),
    *(datetime.date, datetime.time, datetime.timedelta, type(Ellipsis), type(NotImplemented)),
    *(types.WrapperDescriptorType, types.MethodDescriptorType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, np.ufunc, np.dtype),
    *(enum.EnumMeta, _FIELD, *_MARKS),
)

_CONTAINERS = (
    *(list, tuple, dict, set, frozenset),
    *(collections.OrderedDict, collections.defaultdict, collections.deque, types.SimpleNamespace),
)

_CLOCKS = ("time", "perf_counter", "monotonic", "process_time", "thread_time")
_NONE: frozenset[str] = frozenset()
_VOLATILE: dict[str, frozenset[str]] = {
    "os": frozenset({"environ", "environb", "getenv", "urandom"}),
    "posix": frozenset({"urandom"}),
    "time": frozenset({*_CLOCKS, *(f"{name}_ns" for name in _CLOCKS)}),
    "datetime": frozenset({"now", "today", "utcnow"}),
    "secrets": frozenset({"token_bytes", "randbits", "randbelow", "choice"}),
    "uuid": frozenset({"uuid1", "uuid4"}),
    "threading": frozenset({"current_thread", "get_ident", "local"}),
    "_thread": frozenset({"get_ident"}),
}
"""What gives something else at each call, by module."""

_ASKING = frozenset({"open", "input", "globals", "eval", "exec"})
"""Built-in functions that reach what no name tells of."""

_MOST = 20_000
"""Functions that read from more places run as they are."""


class WholeSurroundings(Surroundings):
    """The surroundings of a function, whatever they are made of.

    Attributes:
        opaque: something that the function may read, and that cannot be watched.
    """

    def __init__(self, f: Any) -> None:
        self.opaque: Any = None
        self._named: set[tuple[int, str]] = set()
        try:
            super().__init__(f)
        except Exception as error:  # foreign objects may raise anything when they are looked at
            self.opaque = error
        if len(self._places) + len(self._containers) > _MOST:
            self.opaque = f

    # ---------------------------------------------------------------- looking around

    def value(self, value: Any) -> None:
        fresh = isinstance(value, np.ndarray) and id(value) not in self._seen
        super().value(value)
        if fresh and value.dtype.hasobject:
            self.container(tuple(value.flat))
        if fresh and type(value) is not np.ndarray and hasattr(value, "__dict__"):
            self.container(vars(value))

    def other(self, value: Any) -> None:
        if isinstance(value, types.BuiltinFunctionType):
            if value.__name__ in _VOLATILE.get(value.__module__ or "", ()):
                self.refuse(value)
            return
        if isinstance(value, _CONSTANTS) or type(value) is object:
            return
        self._seen.add(id(value))
        if isinstance(value, type):
            self.class_(value)
        elif isinstance(value, StatelessModel):
            self.attributes(value)
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
        elif _is_standard(type(value)):
            self.refuse(value)
        else:
            self.object(value)

    def owner(self, owner: Any) -> None:
        self.value(owner)

    def function(self, f: Any) -> None:
        known = id(f) in self._seen or not isinstance(f, types.FunctionType)
        home = "" if known else f.__globals__.get("__name__")
        if root(home) in sys.stdlib_module_names:
            self._seen.add(id(f))
            self._standard(f, home)
            return
        super().function(f)
        if known or {root(f.__module__), root(home)} & self.libraries:
            return
        self._places.append((functools.partial(_parts, f), _parts(f), None))
        self.container(f.__dict__)
        names = names_in(f.__code__)
        if any(name in _ASKING and name not in f.__globals__ for name in names):
            self.refuse(f)
        for name in _imports(f):
            if name in sys.modules:
                self._module(sys.modules[name], names)
            elif root(name) not in self.libraries and root(name) not in sys.stdlib_module_names:
                self.refuse(f)

    def place(
        self,
        get: Callable[[], Any],
        put: Callable[[Any], None] | None = None,
        reader: types.CodeType | None = None,
    ) -> None:
        value = get()
        self._places.append((get, value, put))
        names = () if reader is None else names_in(reader)
        if isinstance(value, types.ModuleType):
            self._module(value, names)
        elif isinstance(value, type) and not _VOLATILE.get(value.__module__, _NONE).isdisjoint(
            names
        ):
            self.refuse(value)
        else:
            self.value(value)

    def container(self, value: Any) -> None:
        if len(value) > LONGEST:
            self.refuse(value)
        else:
            super().container(value)

    def _standard(self, f: types.FunctionType, home: str) -> None:
        """A function of Python's own: the user's functions that it is made of."""
        if f.__name__ in _VOLATILE.get(home, _NONE):
            self.refuse(f)
        for content in (
            f.__dict__.get("__wrapped__"),
            *(c.cell_contents for c in f.__closure__ or ()),
        ):
            if callable(content):
                self.value(content)

    def refuse(self, value: Any) -> None:
        """It cannot be watched."""
        self.opaque = value if value is not None else type(value)

    def _module(self, module: types.ModuleType, names: tuple[str, ...]) -> None:
        """A module of the user's: those of its names that the function mentions."""
        if not _VOLATILE.get(module.__name__, _NONE).isdisjoint(names):
            self.refuse(module)
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

    def class_(self, kind: type) -> None:
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

    def object(self, value: Any) -> None:
        """An object of a class written in Python."""
        self.attributes(value)
        if isinstance(value, _CONTAINERS):
            self.container(value)
        if id(type(value)) not in self._seen:
            self.class_(type(value))

    def attributes(self, value: Any) -> None:
        """The attributes of an object."""
        known = isinstance(value, tuple)
        for name in _slots(type(value)):
            known = True
            self.place(functools.partial(getattr, value, name, None))
        if hasattr(value, "__dict__"):
            known = True
            self._places.append((functools.partial(_body, value), _body(value), None))
            self.container(vars(value))
        if not known:
            self.refuse(value)

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
def names_in(code: types.CodeType) -> tuple[str, ...]:
    """The names that code, and the functions inside it, mention; ``getattr`` takes strings."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(names_in(constant)))
        elif isinstance(constant, str) and constant.isidentifier():
            found[constant] = None
    return tuple(found)


def _imports(f: types.FunctionType) -> list[str]:
    """The modules that a function, and those inside it, import."""
    package = f.__globals__.get("__package__") or ""
    found = []
    for level, name in _import_names(f.__code__):
        base = package.rsplit(".", level - 1)[0] + "." if level else ""
        found.append((base + name).rstrip("."))
    return found


@functools.lru_cache(maxsize=1024)
def _import_names(code: types.CodeType) -> list[tuple[int, str]]:
    steps = list(dis.get_instructions(code))
    found = [
        (steps[k - 2].argval, step.argval)
        for k, step in enumerate(steps)
        if step.opname == "IMPORT_NAME"
    ]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _import_names(constant)
    return found


def _body(value: Any) -> list[Any]:
    """What of an object may be replaced."""
    return [value.__class__, value.__dict__]


def _parts(f: types.FunctionType) -> list[Any]:
    """What of a function may be replaced."""
    return [f.__code__, f.__defaults__, f.__kwdefaults__]
