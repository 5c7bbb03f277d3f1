"""Which of its arguments a rule reads: what it does not read need not be kept for the way back."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable
from typing import Any

__all__ = ["positions_read"]

_STAR = 0x04


def positions_read(rule: Callable[..., Any] | None, ahead: int) -> Callable[[int], bool]:
    """Whether a rule reads the answer (position 0) or its argument n - 1 (position n).

    Args:
        rule: a pull ``(g, ans, *args)`` or a derivative ``(ans, *args)``.
        ahead: how many parameters come before ``ans``.

    >>> [positions_read(lambda ans, x: 1 - ans * ans, 0)(i) for i in (0, 1)]
    [True, False]
    """
    if rule is None:
        return lambda _: False
    if not isinstance(rule, types.FunctionType):
        return lambda _: True
    code = rule.__code__
    loaded = set(code.co_cellvars)
    for step in dis.get_instructions(code):
        if "LOAD_FAST" in step.opname:  # also LOAD_FAST_LOAD_FAST, STORE_FAST_LOAD_FAST, ...
            loaded.update(step.argval if isinstance(step.argval, tuple) else (step.argval,))
    names = code.co_varnames[ahead : code.co_argcount]
    star = bool(code.co_flags & _STAR)
    rest = star and code.co_varnames[code.co_argcount + code.co_kwonlyargcount] in loaded

    def read(position: int) -> bool:
        return names[position] in loaded if position < len(names) else rest

    return read
