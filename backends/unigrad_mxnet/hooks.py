"""Places of MXNet that are replaced while some thread records for unigrad, and then put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["acquire", "original", "places", "release", "replaced"]


class _Hooks:
    """Put in by the first that acquires them, and put back by the last that releases them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.places: dict[str, tuple[Any, str, Any]] = {}
        self.originals: dict[str, Any] = {}


_hooks = _Hooks()


def replaced(key: str, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """One more place: ``owner.name``."""
    _hooks.places[key] = (owner, name, replacement)
    _hooks.originals[key] = _held(owner, name)


def _held(owner: Any, name: str) -> Any:
    """What is there; of a class the static method itself, not its function."""
    found = getattr(owner, name)
    return vars(owner).get(name, found) if isinstance(owner, type) else found


def places() -> Iterator[tuple[Any, str]]:
    """What is replaced, as its owner and its name."""
    for owner, name, _ in _hooks.places.values():
        yield owner, name


def original(key: str) -> Any:
    """What is there otherwise."""
    return _hooks.originals[key]


def acquire() -> None:
    """Put the replacements in."""
    with _hooks.lock:
        _hooks.users += 1
        if _hooks.users == 1:
            for key, (owner, name, replacement) in _hooks.places.items():
                _hooks.originals[key] = _held(owner, name)
                setattr(owner, name, replacement)


def release() -> None:
    """Put back what was there before."""
    with _hooks.lock:
        _hooks.users -= 1
        if _hooks.users == 0:
            for key, (owner, name, _) in _hooks.places.items():
                setattr(owner, name, _hooks.originals[key])
