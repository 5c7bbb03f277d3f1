"""Where the arrays of a replayed program live: memory shared by arrays that are not alive together.

`Plan` is made once for a program, and writes down recipes; `built` follows them for each set of
buffers, of which every call in progress has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Plan", "Seen", "seen_as"]

_LINE = 64
"""Arrays begin at multiples of so many bytes."""


@dataclass(eq=False, slots=True)
class Seen:
    """What a value was when the program ran the first time with arguments that lie like these.

    Attributes:
        array: it is an array, not a scalar.
        root: the variable whose memory it shows; ``None``: that of a constant or an unknown one.
        new: it came in memory of its own, which nobody else has, and which may be written.
    """

    array: bool
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    root: Any
    new: bool

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * int(self.dtype.itemsize)

    @property
    def contiguous(self) -> bool:
        """In C order."""
        return self._follows(list(range(len(self.shape))))

    @property
    def dense(self) -> bool:
        """In some order of the axes, without gaps."""
        return self._follows(sorted(range(len(self.shape)), key=lambda i: -self.strides[i]))

    def _follows(self, axes: list[int]) -> bool:
        """Whether the axes, slowest first, lie one in the other without gaps."""
        step = self.dtype.itemsize
        for i in reversed(axes):
            if self.shape[i] != 1:
                if self.strides[i] != step:
                    return False
                step *= max(self.shape[i], 1)
        return True


def seen_as(x: Any, root: Any, new: bool) -> Seen:
    """`Seen` of a value.

    Trap: the stride of an axis of length one means nothing, and NumPy leaves anything there.
    """
    if not isinstance(x, np.ndarray):
        return Seen(False, (), getattr(x, "dtype", None), (), None, False)
    if x.size == 0 or x.flags.c_contiguous:
        strides = _c_strides(x.shape, x.itemsize)
    else:
        pairs = zip(x.strides, x.shape, strict=True)
        strides = tuple(x.itemsize if n == 1 else stride for stride, n in pairs)
    seen = Seen(True, x.shape, x.dtype, strides, root, new)
    if new and not seen.dense:
        seen.new, seen.root = False, None
    return seen


def _c_strides(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    strides = []
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


@dataclass
class Plan:
    """Buffers by name, and the memory that they share.

    Attributes:
        recipes: for each name, in the order in which to make them, ``(slot, shape, dtype,
            strides)`` or ``(function, arguments)``; a `Name` among the arguments is a buffer.
        sizes: bytes of each slot of memory.
    """

    recipes: dict[str, Any] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    _free: list[int] = field(default_factory=list)
    _names: dict[Any, str] = field(default_factory=dict)

    def take(self, nbytes: int) -> int:
        """A slot for so many bytes."""
        need = max(-(-nbytes // _LINE), 1) * _LINE
        fitting = [s for s in self._free if need <= self.sizes[s] <= 4 * need]
        if fitting:
            slot = min(reversed(fitting), key=lambda s: self.sizes[s])
            self._free.remove(slot)
            return slot
        return self.add(need)

    def add(self, nbytes: int) -> int:
        """A slot that nothing else had before."""
        self.sizes.append(nbytes)
        return len(self.sizes) - 1

    def give(self, slot: int) -> None:
        """Nobody reads this slot any more."""
        self._free.append(slot)

    def array(self, slot: int, seen: Seen) -> str:
        """The name of an array over a slot, laid out as it was seen."""
        return self._named((slot, seen.shape, seen.dtype, seen.strides), None)

    def view(self, key: Any, fn: Any, args: tuple[Any, ...]) -> str:
        """The name of a view of a buffer; ``key`` tells the views of one buffer apart."""
        return self._named(key, (fn, args))

    def _named(self, key: Any, recipe: Any) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = Name(f"b{len(self._names)}")
            self.recipes[name] = key if recipe is None else recipe
        return name

    def built(self) -> list[Any]:
        """A set of buffers, in the order of `recipes`."""
        memory = [_aligned(size) for size in self.sizes]
        made: dict[str, Any] = {}
        for name, recipe in self.recipes.items():
            if callable(recipe[0]):
                fn, args = recipe
                made[name] = fn(*_filled(args, made))
            else:
                slot, shape, dtype, strides = recipe
                made[name] = np.ndarray(shape, dtype, memory[slot], 0, strides)
        return list(made.values())


class Name(str):
    """The name of a buffer, where a recipe takes it as an argument."""

    __slots__ = ()


def _filled(args: Sequence[Any], made: dict[str, Any]) -> Any:
    return [made[a] if type(a) is Name else a for a in args]


def _aligned(nbytes: int) -> Any:
    raw = np.zeros(nbytes + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + nbytes]
