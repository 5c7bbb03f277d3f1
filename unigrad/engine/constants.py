"""Constants that the walk back will read: the user may write into them before it does.

Small ones are copied when they are recorded. Large ones stay where they are, and a fingerprint
tells whether they were written meanwhile: the derivative would be of another function.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unigrad.errors import TracingError
from unigrad.surroundings import fingerprint

__all__ = ["Constants", "copies_noted", "settled"]

KEPT_BY_COPY = 1 << 20
"""Arrays of at most so many bytes are copied."""


class Constants:
    """The large constants of one trace."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[int, tuple[np.ndarray[Any, Any], int]] = {}

    def keep(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The array to record in place of ``x``."""
        # Trap: `mask[:] = 0; mask[i] = 1; s = s + x @ mask` in a loop reuses one constant buffer.
        if not x.flags.writeable and settled(x):
            return x
        if x.nbytes <= KEPT_BY_COPY:
            return watched(x, x.copy())
        if id(x) not in self._seen:
            self._seen[id(x)] = x, fingerprint(x)
        return x

    def require_unchanged(self) -> None:
        """Refuse to go on if one of them was written since it was recorded.

        Raises:
            TracingError: naming its shape.
        """
        for x, before in self._seen.values():
            if fingerprint(x) != before:
                raise TracingError(
                    f"an array of shape {x.shape} that the function used was written in place "
                    f"before its derivative was computed; use a copy: x.copy()"
                )


def settled(x: np.ndarray[Any, Any]) -> bool:
    """Whether nobody can write into this read-only array: it is no view of a writeable one."""
    root: Any = x
    while isinstance(root.base, np.ndarray):
        root = root.base
        if root.flags.writeable:
            return False
    return type(root) is np.ndarray and root.base is None


_recording = threading.local()


@contextlib.contextmanager
def copies_noted(
    note: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None],
) -> Iterator[None]:
    """Tell ``note(copy, original)`` of the copies that traces make in this thread."""
    outer = getattr(_recording, "note", None)
    _recording.note = note
    try:
        yield
    finally:
        _recording.note = outer


def watched(original: np.ndarray[Any, Any], copy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The copy, of which a recording in progress is told."""
    note = getattr(_recording, "note", None)
    if note is not None:
        note(copy, original)
    return copy
