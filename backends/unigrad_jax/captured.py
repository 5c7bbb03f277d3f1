"""Weights that a model reaches past its own tree, through a function that it holds.

A bound method kept as an attribute, or a function that closes over a layer, calls the user's
layer and not the copy: its weights would silently be constants, so it is refused.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from unigrad.errors import UnsupportedError

__all__ = ["refuse_captured"]

_QUIET = ("jax", "flax", "equinox", "builtins")


def refuse_captured(
    model: str,
    held: Iterable[tuple[str, Any]],
    weights: Iterable[Any],
    arrays_of: Callable[[Any], Iterable[Any]],
) -> None:
    """Refuse a function among the attributes that reaches one of these weights.

    Args:
        model: its name, for the message.
        held: attributes that are no arrays, by path.
        weights: the parameters.
        arrays_of: the arrays of whatever a function holds on to.
    """
    own = {id(x) for x in weights}
    for path, value in held:
        if not callable(value) or isinstance(value, type):
            continue
        for other in _reached(value, set()):
            if any(id(x) in own for x in arrays_of(other)):
                raise UnsupportedError(
                    f"{model}.{path} is a function that holds on to weights of the model itself, "
                    f"which ug.functional cannot replace; call the layer by its attribute (such "
                    f"as self.layer(x)) in a method instead"
                )


def _reached(value: Any, seen: set[int]) -> Iterator[Any]:
    """What a function holds on to, functions inside functions included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    match value:
        case types.MethodType():
            yield value.__self__
            inside: tuple[Any, ...] = (value.__func__,)
        case functools.partial():
            inside = (value.func, *value.args, *value.keywords.values())
        case types.FunctionType():
            if value.__module__ and value.__module__.partition(".")[0] in _QUIET:
                return
            cells = [c.cell_contents for c in value.__closure__ or () if not _is_empty(c)]
            inside = (*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        case list() | tuple() | set():
            inside = tuple(value)
        case dict():
            inside = tuple(value.values())
        case _:
            yield value
            wrapped = value.__dict__.get("__wrapped__") if _has_dict(value) else None
            inside = () if wrapped is None else (wrapped,)
    for x in inside:
        yield from _reached(x, seen)


def _has_dict(value: Any) -> bool:
    return isinstance(getattr(value, "__dict__", None), dict)


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False
