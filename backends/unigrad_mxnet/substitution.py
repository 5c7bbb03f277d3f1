"""Gluon parameters replaced, on one thread, by the arrays that a function was called with.

While some thread runs such a function, three places of Gluon are replaced: ``Parameter.data``,
what a hybridized block does, and batch normalization, whose statistics can be observed here alone,
because MXNet writes them in the backward pass only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from unigrad_mxnet.framework import mx

__all__ = ["Statistics", "substituted"]

_Parameter: Any = mx.gluon.Parameter
_HybridBlock: Any = mx.gluon.HybridBlock
_BatchNorm: Any = mx.gluon.nn.BatchNorm.__mro__[1]

Statistics = dict[int, Any]
"""Running statistics after a call, by the identity of their parameter."""


class _Substitutes(threading.local):
    """What stands in for the parameters of the models being applied on this thread."""

    def __init__(self) -> None:
        self.stack: list[tuple[Mapping[int, Any], Statistics | None]] = []


_substitutes = _Substitutes()


class _Hook:
    """Places replaced by the first application and put back by the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.originals: dict[str, Any] = {}
        self.places: dict[str, tuple[Any, Any]] = {}

    def acquire(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                for name, (owner, replacement) in self.places.items():
                    self.originals[name] = getattr(owner, name)
                    setattr(owner, name, replacement)

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                for name, (owner, _) in self.places.items():
                    setattr(owner, name, self.originals[name])


_hook = _Hook()


def _stand_in(parameter: Any) -> Any:
    for known, _ in reversed(_substitutes.stack):
        found = known.get(id(parameter))
        if found is not None:
            return found
    return None


def _data(self: Any, ctx: Any = None) -> Any:
    found = _stand_in(self)
    return _hook.originals["data"](self, ctx) if found is None else found


def _list_data(self: Any) -> Any:
    found = _stand_in(self)
    return _hook.originals["list_data"](self) if found is None else [found]


def _observed() -> Statistics | None:
    return _substitutes.stack[-1][1] if _substitutes.stack else None


def _call_cached_op(self: Any, *args: Any) -> Any:
    """A hybridized block; its layers one by one where statistics are observed."""
    if _observed() is None or isinstance(self, mx.gluon.SymbolBlock):
        return _hook.originals["_call_cached_op"](self, *args)
    params = {name: p.data() for name, p in self._reg_params.items()}
    return self.hybrid_forward(mx.nd, *args, **params)


def _hybrid_forward(
    self: Any, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
) -> Any:
    arrays = (gamma, beta, running_mean, running_var)
    result = _hook.originals["hybrid_forward"](self, F, x, *arrays)
    after = _observed()
    if after is None or self._kwargs["use_global_stats"] or not mx.autograd.is_training():
        return result
    momentum, axis = self._kwargs["momentum"], self._kwargs["axis"]
    with mx.autograd.pause(train_mode=True):
        old = x.detach().as_nd_ndarray()
        mean = mx.nd.mean(old, axis=axis, exclude=True, keepdims=True)
        var = mx.nd.mean(mx.nd.broadcast_sub(old, mean) ** 2, axis=axis, exclude=True)
        for parameter, now in ((self.running_mean, mean.reshape(-1)), (self.running_var, var)):
            before = after.get(id(parameter), parameter.data()).as_nd_ndarray()
            new = momentum * before + (1.0 - momentum) * now.astype(before.dtype)
            is_np = isinstance(parameter.data(), mx.np.ndarray)
            after[id(parameter)] = new.as_np_ndarray() if is_np else new
    return result


_hook.places = {
    "data": (_Parameter, _data),
    "list_data": (_Parameter, _list_data),
    "_call_cached_op": (_HybridBlock, _call_cached_op),
    "hybrid_forward": (_BatchNorm, _hybrid_forward),
}


@contextlib.contextmanager
def substituted(arrays: Mapping[int, Any], statistics: Statistics | None = None) -> Iterator[None]:
    """While this runs, on this thread, these stand in for the parameters of those identities.

    Args:
        statistics: filled with the running statistics that batch normalization would write.
    """
    _hook.acquire()
    _substitutes.stack.append((arrays, statistics))
    try:
        yield
    finally:
        _substitutes.stack.pop()
        _hook.release()
