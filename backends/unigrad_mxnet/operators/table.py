"""The table of translations: the value of each MXNet operator, as a function of plain NumPy.

No derivative is written here: the engine differentiates what a translation computes, to any
order. A translation branches on shapes, dtypes and attributes, never on values. What MXNet draws
at random comes as one more input: the mask of ``Dropout`` in training is its second, `(x, mask)`
with ``y = x * mask`` (scaled already); in predict mode it has one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["OPERATORS", "Attributes", "Translation", "elementwise", "operator"]


class Attributes(Mapping[str, str]):
    """An operator's attributes, which MXNet keeps as strings, read as what they mean.

    Each reader takes the name and the value that stands for a missing attribute.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)

    def __getitem__(self, name: str) -> str:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return f"Attributes({self._given!r})"

    def text(self, name: str, default: str | None = None) -> str | None:
        """The string itself; ``None`` for ``"None"``."""
        value = self._given.get(name)
        if value is None:
            return default
        return None if value == "None" else value

    def real(self, name: str, default: float | None = None) -> Any:
        """A float; ``default`` if missing or ``"None"``."""
        value = self.text(name)
        if value is None:
            return default
        return float(_FLAGS[value]) if value in _FLAGS else float(value)

    def integer(self, name: str, default: int | None = None) -> Any:
        """An int; ``default`` if missing or ``"None"``."""
        value = self.text(name)
        if value is None:
            return default
        if value in _FLAGS:
            return int(_FLAGS[value])
        try:
            return int(value.rstrip("L"))
        except ValueError:
            return int(float(value))

    def optional_integer(self, name: str, default: int | None = None) -> int | None:
        """An int or ``None``: ``"None"`` is ``None`` even where the default is a number."""
        if name in self._given and self.text(name) is None:
            return None
        found: int | None = self.integer(name, default)
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        """A bool, however it is spelt: ``True``, ``true``, ``1``."""
        value = self.text(name)
        return default if value is None else _FLAGS[value]

    def shape(self, name: str, default: Any = None) -> Any:
        """A tuple of ints (``None`` among them is kept); a number alone is a tuple of one."""
        value = self.text(name)
        if value is None:
            return default
        found = ast.literal_eval(value.replace("L", ""))
        if isinstance(found, tuple | list):
            return tuple(None if k is None else int(k) for k in found)
        return (int(found),)


_FLAGS = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}

Translation = Callable[[list[Any], Attributes, bool], list[Any]]

OPERATORS: dict[str, Translation] = {}


def operator(*names: str) -> Callable[[Translation], Translation]:
    """Register a translation ``fn(inputs, attributes, training) -> outputs`` by MXNet's names."""

    def register(fn: Translation) -> Translation:
        for name in names:
            OPERATORS[name] = fn
        return fn

    return register


def elementwise(name: str, fn: Callable[..., Any]) -> None:
    """Register a function of the arrays alone, with one output."""

    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        return [fn(*xs)]

    OPERATORS[name] = translation
