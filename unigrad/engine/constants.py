"""Constants that the walk back will read: the user may write into them before it does.

Small ones are copied when they are recorded. Large ones stay where they are, and a fingerprint
tells whether they were written meanwhile: the derivative would be of another function.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from unigrad.errors import TracingError

__all__ = ["Constants"]

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
        if not x.flags.writeable:
            return x
        if x.nbytes <= KEPT_BY_COPY:
            return x.copy()
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


def fingerprint(x: np.ndarray[Any, Any]) -> int:
    """A number that changes when ``x`` is written: sums of its bits by rows and by columns."""
    bits = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    whole = bits.size // 8
    words = bits[: whole * 8].view(np.uint64)
    state = zlib.crc32(bits[whole * 8 :].tobytes())
    for width, axis in ((1024, 1), (1021, 0)):
        count = whole // width
        state = zlib.crc32(words[count * width :].tobytes(), state)
        sums = np.add.reduce(words[: count * width].reshape(count, width), axis=axis)
        state = zlib.crc32(sums.tobytes(), state)
    return state
