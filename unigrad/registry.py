"""Which backend does the work: adapters by entry point, detection by array type, ``use()``.

Detection looks at the type of an array and at its module's name only, so that no framework is
imported for arrays that cannot be its own; the answer is cached by type.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Backend, BackendSpec, Capabilities
from unigrad.errors import (
    ArgumentError,
    BackendNotAvailableError,
    MixedBackendError,
    UnknownBackendError,
)

__all__ = [
    "BackendInfo",
    "backends",
    "backend_of",
    "get_backend",
    "owner",
    "register_backend",
    "specs",
    "set_default_backend",
    "use",
]

GROUP = "unigrad.backends"
ENVIRONMENT_VARIABLE = "UNIGRAD_BACKEND"
NEUTRAL_TYPES = (np.ndarray, np.generic, float, int, complex)
_LEAF_TYPES = (np.ndarray, float, int, complex, bool, str, *np.sctypeDict.values())


class Memory:
    """What follows from the adapters that are known, and is forgotten when one is registered.

    Attributes:
        owners: the backend of an array type.
        flatten: takes trees apart.
        plans: how calls of one signature are made (`unigrad.operators.plan`).
    """

    def __init__(self) -> None:
        self.owners: dict[type, Backend | None] = {}
        self.flatten = trees.Flattener(_LEAF_TYPES, lambda kind: owner(kind) is not None)
        self.plans: dict[Hashable, Any] = {}


class _Registry:
    """The one mutable global: specs by name, loaded backends by name, and what follows."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.specs: dict[str, BackendSpec] | None = None
        self.loaded: dict[str, Backend] = {}
        self.memory = Memory()
        self.default: str | None = None

    def known(self) -> dict[str, BackendSpec]:
        """Specs by name; entry points are read once."""
        if self.specs is None:
            with self.lock:
                if self.specs is None:
                    import importlib.metadata  # here: it is a third of the import of unigrad

                    specs: dict[str, BackendSpec] = {}
                    for entry in importlib.metadata.entry_points(group=GROUP):
                        try:
                            candidate = entry.load()
                        except ImportError as error:
                            candidate = _broken(entry.name, entry.value, error)
                        self.admit(candidate, specs)
                    self.specs = specs
        return self.specs

    def admit(self, candidate: object, specs: dict[str, BackendSpec]) -> None:
        """Add a spec, a backend, or a backend class to ``specs``."""
        if isinstance(candidate, type) and issubclass(candidate, Backend):
            candidate = candidate()
        if isinstance(candidate, Backend):
            self.loaded[candidate.name] = candidate
            candidate = _spec_of(candidate)
        if not isinstance(candidate, BackendSpec):
            raise ArgumentError(
                f"a backend is a unigrad.Backend or a unigrad.BackendSpec, got "
                f"{type(candidate).__name__}; subclass ug.Backend and register an instance"
            )
        specs[candidate.name] = candidate


_registry = _Registry()
_used: contextvars.ContextVar[str | None] = contextvars.ContextVar("unigrad_backend", default=None)


def _spec_of(backend: Backend) -> BackendSpec:
    modules = tuple(dict.fromkeys(t.__module__ for t in backend.array_types))
    module = type(backend).__module__
    return BackendSpec(
        name=backend.name,
        adapter=f"{module}:{type(backend).__name__}",
        modules=modules,
        framework=module.partition(".")[0],
        distribution=module.partition(".")[0],
        install=f"ug.register_backend({type(backend).__name__}())",
        capabilities=backend.capabilities,
    )


def _broken(name: str, adapter: str, error: ImportError) -> BackendSpec:
    """An adapter that does not import is listed with the reason; the others work."""
    return BackendSpec(
        name=name,
        adapter=adapter,
        modules=(),
        framework=f"{name} (its adapter does not import)",
        distribution=name,
        install=f"pip install --upgrade what provides {adapter}",
        unavailable=f"its adapter does not import: {error}",
    )


def register_backend(backend: Backend | BackendSpec | type[Backend]) -> None:
    """Make an adapter known under its name; one of the same name is replaced.

    Args:
        backend: an instance or a subclass of `Backend`, or a `BackendSpec` whose adapter is
            imported on first use. A distribution does the same without a call, by an entry
            point of the group ``unigrad.backends``.

    Raises:
        ArgumentError: for anything else.
    """
    with _registry.lock:
        specs = dict(_registry.known())
        _registry.loaded.pop(getattr(backend, "name", ""), None)
        _registry.admit(backend, specs)
        _registry.specs = specs
        _registry.memory = Memory()


def get_backend(name: str | Backend) -> Backend:
    """The backend of this name, loaded on first use.

    Raises:
        UnknownBackendError: if no adapter has this name.
        BackendNotAvailableError: if its framework is not installed.
    """
    if isinstance(name, Backend):
        return name
    backend = _registry.loaded.get(name)
    if backend is None:
        spec = _spec(name)
        with _registry.lock:
            backend = _registry.loaded.get(name)
            if backend is None:
                backend = _registry.loaded[name] = spec.load()
    return backend


def specs() -> Mapping[str, BackendSpec]:
    """Every known adapter by name, as it stands before it is imported."""
    return _registry.known()


def _spec(name: object) -> BackendSpec:
    known = _registry.known()
    if not isinstance(name, str) or name not in known:
        raise UnknownBackendError(_unknown(name))
    return known[name]


def _unknown(name: object, source: str = "") -> str:
    names = ", ".join(repr(n) for n in sorted(_registry.known()))
    asked = f"{name!r}, as {source}" if source else f"{name!r}"
    return f"no backend is named {asked}; the known ones are {names}"


def memory() -> Memory:
    """What was learnt of types and signatures since the last registration."""
    return _registry.memory


# -------------------------------------------------------------------- detection by array type


def owner(array_type: type) -> Backend | None:
    """The backend whose arrays are of this type; ``None`` for neutral and foreign types."""
    memory = _registry.memory
    try:
        return memory.owners[array_type]
    except KeyError:
        pass
    found: Backend | None = None
    if array_type not in NEUTRAL_TYPES and array_type is not bool:
        for cls in array_type.__mro__:
            if cls in NEUTRAL_TYPES:
                break
            found = _claimed(cls, array_type)
            if found is not None:
                break
        if found is not None and found.name == "numpy" and issubclass(array_type, NEUTRAL_TYPES):
            found = None
    memory.owners[array_type] = found
    return found


def _claimed(cls: type, array_type: type) -> Backend | None:
    for name, spec in _registry.known().items():
        if spec.owns(cls):
            try:
                backend = get_backend(name)
            except BackendNotAvailableError:
                continue
            if issubclass(array_type, backend.array_types):
                return backend
    return None


def backend_of(
    leaves: Sequence[Any],
    explicit: str | Backend | None = None,
    names: Callable[[], list[str]] | None = None,
) -> Backend:
    """The backend of a call with these leaves (S10, S11).

    Args:
        leaves: all leaves of all arguments.
        explicit: what ``backend=`` said.
        names: how messages call the leaves; made only when needed.

    Raises:
        MixedBackendError: if arrays of two frameworks meet, or disagree with ``explicit``.
        BackendNotAvailableError: if the chosen backend is not installed.
    """
    return decided(leaves, explicit, names) or get_backend(switched())


def decided(
    leaves: Sequence[Any],
    explicit: str | Backend | None = None,
    names: Callable[[], list[str]] | None = None,
) -> Backend | None:
    """`backend_of`, but ``None`` where the switch decides; depends on types of leaves only."""
    found: Backend | None = None
    first = 0
    asked = None if explicit is None else get_backend(explicit)
    for i, leaf in enumerate(leaves):
        backend = owner(type(leaf))
        if backend is None or (asked is not None and isinstance(leaf, asked.array_types)):
            continue
        if asked is not None:
            raise MixedBackendError(
                f"backend={asked.name!r} was asked for, but {_name(i, names)} is an array of "
                f"{backend.name}; type: ug.asarray(tree, backend={asked.name!r})"
            )
        if found is None:
            found, first = backend, i
        elif backend is not found:
            raise MixedBackendError(
                f"one call takes arrays of one framework, but {_name(first, names)} is an array "
                f"of {found.name} and {_name(i, names)} one of {backend.name}; "
                f"type: ug.asarray(tree, backend={found.name!r})"
            )
    return asked or found


def _name(index: int, names: Callable[[], list[str]] | None) -> str:
    return f"argument {index}" if names is None else names()[index]


# -------------------------------------------------------------------- the switch


def switched() -> str:
    """The name of the backend that decides where neither the call nor its arrays do (S11)."""
    chosen = _used.get() or _registry.default
    if chosen is not None:
        return chosen
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return "numpy"
    if named not in _registry.loaded and named not in _registry.known():
        raise UnknownBackendError(_unknown(named, f"the variable {ENVIRONMENT_VARIABLE} says"))
    return named


class use:
    """Choose the backend for calls whose arrays do not decide it (S11).

    ``ug.use("torch")`` holds from here on in this thread or async task; as a ``with`` block it
    holds inside only. Other threads and tasks do not see it; `set_default_backend` is for all.

    Raises:
        UnknownBackendError: if no adapter has this name.
        BackendNotAvailableError: if its framework is not installed.

    >>> import unigrad as ug
    >>> with ug.use("numpy"):
    ...     print(ug.grad(lambda x: x**2)(3.0))
    6.0
    """

    def __init__(self, backend: str | Backend) -> None:
        self.backend = get_backend(backend)
        if _registry.loaded.get(self.backend.name) is not self.backend:
            raise UnknownBackendError(
                f"{self.backend!r} is not registered; type: ug.register_backend(it) first"
            )
        self._before = _used.get()
        _used.set(self.backend.name)

    def __enter__(self) -> Backend:
        _used.set(self.backend.name)
        return self.backend

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _used.set(self._before)


def set_default_backend(name: str | None) -> None:
    """Choose the backend of the whole process where no ``use()`` is in force; ``None`` undoes it.

    Raises:
        UnknownBackendError: if no adapter has this name.
        BackendNotAvailableError: if its framework is not installed.
    """
    if name is not None:
        get_backend(name)
    _registry.default = name


# -------------------------------------------------------------------- what there is


@dataclass(frozen=True)
class BackendInfo:
    """One line of `backends`.

    Attributes:
        installed: whether its framework was found (it is not imported to see).
        version: the framework's version.
        reason: why it is not available, with what to type; ``None`` if it is.
    """

    name: str
    installed: bool
    version: str | None
    capabilities: Capabilities
    reason: str | None


class _Backends(Mapping[str, BackendInfo]):
    def __init__(self, infos: dict[str, BackendInfo]) -> None:
        self._infos = infos

    def __getitem__(self, name: str) -> BackendInfo:
        return self._infos[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __repr__(self) -> str:
        lines = [
            f"{info.name:<12}{info.version or '-':<10}{info.reason or 'available'}"
            for info in self._infos.values()
        ]
        return "\n".join(lines)


def backends() -> Mapping[str, BackendInfo]:
    """Every known backend by name: installed or not, version, capabilities, why not.

    >>> import unigrad as ug
    >>> ug.backends()["numpy"].installed
    True
    """
    infos = {}
    for name, spec in _registry.known().items():
        installed = name in _registry.loaded or spec.installed()
        reason = None if installed else f"{spec.unavailable or 'not installed'}; {spec.install}"
        infos[name] = BackendInfo(name, installed, spec.version(), spec.capabilities, reason)
    return _Backends(infos)
