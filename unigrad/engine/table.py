"""The tables that NumPy's functions are looked up in, and the words that fill them.

A line in `unigrad.engine.rules` is one of: `elementwise` (derivatives of a ufunc), `ufunc`,
`function` (pulls of an array function), `composite` (a function in terms of others), `constant`
(no derivative: its value is computed on plain values). Names absent from a NumPy are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from unigrad.engine.core import Box, Pull, Rule, apply, primal
from unigrad.engine.reverse import apply_one
from unigrad.errors import TracingError

__all__ = [
    "CONSTANT_UFUNCS",
    "FUNCTIONS",
    "NO_VALUE",
    "UFUNCS",
    "UFUNC_METHODS",
    "composite",
    "constant",
    "elementwise",
    "function",
    "refuse",
    "ufunc",
]

_BEHIND_THE_RULES = frozenset({"out", "where", "initial"})

F = TypeVar("F", bound=Callable[..., Any])

NO_VALUE: Any = vars(np)["_NoValue"]
"""What NumPy's own functions pass where an option was left out."""

UFUNCS: dict[Any, Rule] = {}
CONSTANT_UFUNCS: set[Any] = set()
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
UFUNC_METHODS: dict[tuple[str, str], Callable[..., Any]] = {}
"""``(name of the ufunc, "reduce" or "accumulate")`` to a function of a traced array."""


def lookup(name: str) -> Any:
    """``numpy.<name>``; ``None`` where this NumPy has no such function."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def refuse(name: str, options: Mapping[str, Any]) -> None:
    """Refuse ``out=`` and the like: they write, or choose entries, behind the rules' back."""
    for key in _BEHIND_THE_RULES & options.keys():
        value = options[key]
        if value is not None and value is not NO_VALUE and value is not True:
            advice = {
                "out": "assign the result instead: y = ...",
                "where": "use np.where(condition, ..., ...) on its argument or result instead",
                "initial": "combine the result with the initial value instead",
            }
            raise TracingError(
                f"numpy.{name}(..., {key}=...) cannot be differentiated; {advice[key]}"
            )


_METHODS: dict[str, Callable[..., Any]] = {
    "copy": lambda a, **options: a.copy(),
    "transpose": lambda a, axes=None: a.transpose() if axes is None else a.transpose(axes),
}
"""Functions that NumPy computes by a method of the array, but slowly finds."""


def ufunc(
    name: str,
    *pulls: Pull | None,
    linear: bool = False,
    multilinear: bool = False,
    target: Any = None,
) -> None:
    """A ufunc by its pulls ``(g, ans, *args)``, one for each argument."""
    found = lookup(name) if target is None else target
    if found is not None:
        UFUNCS[found] = Rule(
            name,
            pulls,
            linear=linear,
            multilinear=multilinear,
            symmetric=found.signature is None,
        )


def elementwise(name: str, *derivatives: Callable[..., Any] | None, target: Any = None) -> None:
    """A ufunc by its partial derivatives ``(ans, *args)``, holomorphic for complex numbers."""
    found = lookup(name) if target is None else target
    if found is not None:
        UFUNCS[found] = Rule(name, derivatives=derivatives)


def function(
    name: str,
    signature: str,
    *pulls: Pull | None,
    linear: bool = False,
    multilinear: bool = False,
    view: bool = False,
) -> None:
    """An array function by its pulls; its first arguments are arrays, the others options.

    Args:
        signature: the names of its arguments, in order.
        pulls: one for each of the leading array arguments.
    """
    fn = lookup(name)
    if fn is None:
        return
    rule = Rule(name, pulls, linear=linear, multilinear=multilinear, view=view)
    names = signature.split()
    count = len(pulls)
    computed = _METHODS.get(name, fn)
    arrays, options = names[:count], names[count:]

    def handler(*args: Any, **kwargs: Any) -> Any:
        if len(args) > count:
            kwargs.update(zip(options, args[count:], strict=False))
            args = args[:count]
        while len(args) < count:
            args = (*args, kwargs.pop(arrays[len(args)]))
        for key, value in kwargs.items():
            if key in _BEHIND_THE_RULES or isinstance(value, Box):
                refuse(name, kwargs)
                forbid_boxes(name, kwargs)
        x = args[0]
        if count == 1 and isinstance(x, Box):
            return apply_one(rule, computed, x, kwargs)
        return apply(rule, computed, args, kwargs)

    FUNCTIONS[fn] = handler


def forbid_boxes(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a traced value where the rules expect a plain option."""
    for key, value in options.items():
        if isinstance(value, Box):
            raise TracingError(
                f"numpy.{name}(..., {key}=...) got a traced value, which has no derivative "
                f"there; pass ug.stop_gradient(value)"
            )


def composite(*names: str) -> Callable[[F], F]:
    """A function that is computed by other functions, with NumPy's own signature."""

    def register(f: F) -> F:
        for name in names:
            fn = lookup(name)
            if fn is not None:
                FUNCTIONS[fn] = f
        return f

    return register


def plain(x: Any) -> Any:
    """Boxes replaced by their values, in sequences too."""
    if isinstance(x, Box):
        return primal(x)
    if type(x) in (tuple, list):
        return type(x)(plain(y) for y in x)
    return x


def constant(names: str) -> None:
    """Functions and ufuncs whose results are plain values: predicates, indices, shapes."""
    for name in names.split():
        fn = lookup(name)
        if isinstance(fn, np.ufunc):
            CONSTANT_UFUNCS.add(fn)
        elif fn is not None:
            FUNCTIONS[fn] = _on_values(fn)


def _on_values(fn: Callable[..., Any]) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        return fn(*plain(args), **{k: plain(v) for k, v in kwargs.items()})

    return handler


def sequence_rule(
    name: str, pull: Callable[..., Any], *, linear: bool = False, multilinear: bool = False
) -> Rule:
    """A rule for any number of arguments: ``pull(i, g, ans, *args, **kwargs)``."""

    class _Every(Sequence[Pull]):
        def __getitem__(self, i: Any) -> Any:
            return lambda g, ans, *args, **kwargs: pull(i, g, ans, *args, **kwargs)

        def __len__(self) -> int:
            raise TypeError("any number")

    return Rule(name, _Every(), linear=linear, multilinear=multilinear)
