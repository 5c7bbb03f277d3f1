"""Gluon blocks as functions of their parameters, without touching the block.

While such a function runs, ``Parameter.data`` gives this thread the arrays it was called with.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unigrad.errors import ArgumentError, UnsupportedError
from unigrad_mxnet.arrays import semantics
from unigrad_mxnet.framework import mx

__all__ = ["functional"]

_Parameter: Any = mx.gluon.Parameter


class _Substitutes(threading.local):
    """For each parameter of the models being applied on this thread, the array that stands in."""

    def __init__(self) -> None:
        self.stack: list[dict[int, Any]] = []


_substitutes = _Substitutes()


def functional(model: Any) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """``(apply, params)`` of a Gluon block; ``None`` for anything else."""
    if not isinstance(model, mx.gluon.Block):
        return None
    parameters = {
        name: p for name, p in model.collect_params().items() if getattr(p, "_differentiable", True)
    }
    try:
        params = {name: p.data().detach() for name, p in parameters.items()}
    except (RuntimeError, mx.gluon.parameter.DeferredInitializationError) as error:
        raise UnsupportedError(
            f"the parameters of a {type(model).__name__} were asked for before they exist; "
            f"type: model.initialize(), then call model(x) once"
        ) from error

    def apply(params: Mapping[str, Any], *inputs: Any) -> Any:
        if params.keys() != parameters.keys():
            raise ArgumentError(
                f"apply of a {type(model).__name__} takes the parameters "
                f"{sorted(parameters)}, got {sorted(params)}"
            )
        stand_ins = {id(parameters[name]): x for name, x in params.items()}
        with semantics(*params.values()), _substituted(stand_ins):
            return model(*inputs)

    return apply, params


class _Hook:
    """``Parameter.data``, replaced by the first application and put back by the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.data: Any = None
        self.list_data: Any = None

    def acquire(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.data, self.list_data = _Parameter.data, _Parameter.list_data
                _Parameter.data, _Parameter.list_data = _data, _list_data

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                _Parameter.data, _Parameter.list_data = self.data, self.list_data


_hook = _Hook()


def _stand_in(parameter: Any) -> Any:
    for known in reversed(_substitutes.stack):
        found = known.get(id(parameter))
        if found is not None:
            return found
    return None


def _data(self: Any, ctx: Any = None) -> Any:
    found = _stand_in(self)
    return _hook.data(self, ctx) if found is None else found


def _list_data(self: Any) -> Any:
    found = _stand_in(self)
    return _hook.list_data(self) if found is None else [found]


@contextlib.contextmanager
def _substituted(arrays: dict[int, Any]) -> Iterator[None]:
    _hook.acquire()
    _substitutes.stack.append(arrays)
    try:
        yield
    finally:
        _substitutes.stack.pop()
        _hook.release()
