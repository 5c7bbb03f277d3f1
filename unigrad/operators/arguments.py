"""Which arguments an operator differentiates: ``argnums`` as position, tuple, or names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from unigrad.errors import ArgumentError

__all__ = ["Argnums", "Selection"]

Argnums: TypeAlias = "int | str | Sequence[int] | Sequence[str]"


@dataclass(frozen=True)
class _Parameters:
    """What the signature of a function says of its arguments.

    Attributes:
        positional: those that have a position, in order.
        keyword: those that are passed by keyword only.
        anything: whether any other keyword goes.
    """

    positional: list[str]
    keyword: list[str]
    anything: bool


def _parameters(f: Callable[..., Any]) -> _Parameters:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return _Parameters([], [], True)
    kinds = inspect.Parameter
    return _Parameters(
        [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)],
        [p.name for p in parameters if p.kind is kinds.KEYWORD_ONLY],
        any(p.kind is kinds.VAR_KEYWORD for p in parameters),
    )


class Selection:
    """The arguments chosen by ``argnums``; made once for an operator, used at each call.

    Attributes:
        f: the function.
        slots: positions and names.
        single: whether ``argnums`` was one of them, not a tuple.
    """

    __slots__ = ("_known", "f", "single", "slots")

    def __init__(
        self, f: Callable[..., Any], slots: tuple[int | str, ...], single: bool = False
    ) -> None:
        self.f = f
        self.slots = slots
        self.single = single
        self._known: dict[Hashable, tuple[int | str, ...]] = {}

    @classmethod
    def of(cls, f: Callable[..., Any], argnums: Argnums) -> Selection:
        """Check ``argnums`` against what can be known of ``f`` before it is called.

        Raises:
            ArgumentError: if it is no position or name, is empty, or names no parameter.
        """
        _require_callable(f)
        if type(argnums) is int:
            return cls(f, (argnums,), single=True)
        listed_ones = isinstance(argnums, Sequence) and not isinstance(argnums, str)
        given: tuple[Any, ...] = tuple(argnums) if listed_ones else (argnums,)  # type: ignore[arg-type]
        slots = tuple(int(s) if isinstance(s, np.integer) else s for s in given)
        bad = [s for s in slots if isinstance(s, bool) or not isinstance(s, int | str)]
        if bad or not slots or len(set(slots)) != len(slots):
            raise ArgumentError(
                f"argnums is a position, a name, or a tuple of different ones, got {argnums!r}; "
                f"type: argnums=0, argnums=(0, 1) or argnums='weights'"
            )
        if any(isinstance(s, str) for s in slots):
            parameters = _parameters(f)
            known = parameters.positional + parameters.keyword
            for slot in slots:
                if isinstance(slot, str) and slot not in known and not parameters.anything:
                    listed = ", ".join(repr(n) for n in known) or "none"
                    raise ArgumentError(
                        f"argnums={slot!r}, but {_called(f)} has no argument of that name; "
                        f"its arguments are {listed}"
                    )
        return cls(f, slots, single=not listed_ones)

    @classmethod
    def every(cls, f: Callable[..., Any], count: int) -> Selection:
        """All ``count`` arguments of a call without keywords."""
        _require_callable(f)
        return cls(f, tuple(range(count)))

    def locate(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int | str, ...]:
        """For each slot, the position in ``args`` or the key in ``kwargs`` of this call."""
        call = (len(args), *kwargs) if kwargs else len(args)
        found = self._known.get(call)
        if found is None:
            found = self._known[call] = tuple(self._located(len(args), tuple(kwargs)))
        return found

    def _located(self, count: int, keywords: tuple[str, ...]) -> list[int | str]:
        found: list[int | str] = []
        for slot in self.slots:
            if isinstance(slot, int):
                position = slot + count if slot < 0 else slot
                if 0 <= position < count:
                    found.append(position)
                    continue
                parameters = _parameters(self.f)
                names = parameters.positional + parameters.keyword
                if 0 <= slot < len(names) and names[slot] in keywords:
                    found.append(names[slot])
                    continue
                raise ArgumentError(
                    f"argnums={slot}, but {_called(self.f)} was called with {count} "
                    f"positional argument{'' if count == 1 else 's'}; type: argnums='name' "
                    f"for an argument that is passed by keyword"
                )
            if slot in keywords:
                found.append(slot)
            else:
                names = _parameters(self.f).positional
                if slot not in names or names.index(slot) >= count:
                    raise ArgumentError(
                        f"argnums={slot!r}, but {_called(self.f)} was called without it; pass it "
                        f"by position or as {slot}=..."
                    )
                found.append(names.index(slot))
        if len(set(found)) != len(found):
            raise ArgumentError(f"argnums={self.slots!r} names one argument twice")
        return found

    def title(self, where: int | str) -> str:
        """How messages call the argument at this place."""
        if isinstance(where, str):
            return where
        names = _parameters(self.f).positional
        return names[where] if where < len(names) else f"args[{where}]"


def _require_callable(f: object) -> None:
    if not callable(f):
        raise ArgumentError(
            f"a function to differentiate is needed, got {type(f).__name__}; "
            f"type: ug.grad(f)(x), not ug.grad(f(x))"
        )


def _called(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)
