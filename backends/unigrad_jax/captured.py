"""Weights that a model reaches past its own tree: through a function that it holds, or a global.

A bound method kept as an attribute, or a function that closes over a layer, calls the user's
layer and not the copy: its weights would silently be constants, so it is refused.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from unigrad.errors import UnsupportedError

__all__ = ["refuse_captured", "refuse_global"]

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


def refuse_global(
    model: str, classes: Iterable[type], is_own: Callable[[Any], bool], method: str = "__call__"
) -> None:
    """Refuse methods that use a global, or a variable around their class, that holds a weight.

    Args:
        model: its name, for the message.
        classes: of the model and its parts.
        is_own: whether an object is a weight of the model, or a layer with one.
        method: where calls begin; what it calls by name is looked at as well.
    """
    known = [vars(c) for kind in classes for c in kind.__mro__ if not _is_quiet(c)]
    waiting = [members[method] for members in known if method in members]
    names, seen = {method}, set()
    while waiting:
        code = _written(waiting.pop())
        if code is None or id(code) in seen or _is_quiet(code):
            continue
        seen.add(id(code))
        outside, attributes = _used(code)
        for name, value in outside.items():
            if isinstance(value, types.FunctionType) and _package(value) == _package(code):
                waiting.append(value)
            elif any(is_own(x) for x in _around(value)):
                raise UnsupportedError(
                    f"{code.__qualname__} uses {name!r}, which holds weights of {model} itself "
                    f"that ug.functional cannot replace; read them as an attribute of self"
                )
        for name in attributes - names:
            waiting.extend(members[name] for members in known if name in members)
        names |= attributes


def _written(member: Any) -> types.FunctionType | None:
    """The Python function of a method, whatever it is wrapped in."""
    match member:
        case property():
            member = member.fget
        case staticmethod() | classmethod():
            member = member.__func__
    member = inspect.unwrap(member) if callable(member) else None
    return member if isinstance(member, types.FunctionType) else None


def _used(function: types.FunctionType) -> tuple[dict[str, Any], set[str]]:
    """What a function reads from around it, by name, and the names of the attributes it uses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    outside = {name: c.cell_contents for name, c in cells if not _is_empty(c)}
    attributes: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [x for x in code.co_consts if isinstance(x, types.CodeType)]
        attributes.update(code.co_names)
        for step in dis.get_instructions(code):
            if step.opname == "LOAD_GLOBAL" and step.argval in function.__globals__:
                outside[step.argval] = function.__globals__[step.argval]
    return outside, attributes


def _around(value: Any) -> Iterator[Any]:
    """A value, or what the container or plain object that it is holds."""
    if isinstance(value, type | types.ModuleType):
        return
    yield value
    match value:
        case dict():
            yield from value.values()
        case list() | tuple() | set():
            yield from value
        case _ if _has_dict(value):
            yield from vars(value).values()


def _is_quiet(value: Any) -> bool:
    return _package(value) in _QUIET


def _package(value: Any) -> str:
    return (value.__module__ or "").partition(".")[0]


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
            if _is_quiet(value):
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
