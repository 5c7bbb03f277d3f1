"""What a function under ``ug.jit`` reads beside its arguments, Gluon's blocks and arrays included.

Arrays are read again at each call; what is watched here is which they are, and every number,
attribute, function and container that a capture turned into constants.
"""

from __future__ import annotations

import functools
import types
from typing import Any, ClassVar

from unigrad.surroundings import Surroundings, root
from unigrad.whole_surroundings import WholeSurroundings, names_in
from unigrad_mxnet.framework import mx

__all__ = ["Around"]

_FIXED = (
    *(mx.Context, mx.sym.Symbol, mx.nd._internal.CachedOp, mx.gluon.block._BlockScope),
    mx.gluon.parameter.Parameter,
)
"""Of these nothing is read but what is watched otherwise, or they never change."""


_OWN_PASSES = frozenset({"backward", "attach_grad"})
"""What a function of MXNet's own derivatives mentions."""


class Around(WholeSurroundings):
    """The surroundings of a function of MXNet's arrays.

    Attributes:
        found: the arrays in them.
    """

    libraries: ClassVar[frozenset[str]] = Surroundings.libraries | {"mxnet"}

    def __init__(self, f: Any) -> None:
        self.found: list[Any] = []
        super().__init__(f)

    def other(self, value: Any) -> None:
        if isinstance(value, mx.nd.NDArray):
            self._seen.add(id(value))
            self.found.append(value)
        elif isinstance(value, _FIXED):
            self._seen.add(id(value))
            if isinstance(value, mx.gluon.parameter.Parameter):
                get = functools.partial(_described, value)
                self._places.append((get, get(), None))
                if not type(value).__module__.startswith("mxnet."):
                    self.class_(type(value))
        else:
            super().other(value)

    def function(self, f: Any) -> None:
        super().function(f)
        users = isinstance(f, types.FunctionType) and root(f.__module__) not in self.libraries
        if users and not _OWN_PASSES.isdisjoint(names_in(f.__code__)):
            self.refuse(f)  # to find out in the middle of a call would draw numbers twice

    def block(self, block: Any) -> list[Any]:
        """Look into a block that is about to be called; the arrays that were not known before."""
        known = len(self.found)
        if id(block) not in self._seen:
            try:
                self.value(block)
            except Exception as error:  # as in the constructor
                self.opaque = error
        return self.found[known:]


def _described(parameter: Any) -> list[Any]:
    """The numbers in a parameter; its arrays are asked for anew at each call."""
    found: list[Any] = []
    for name, value in vars(parameter).items():
        if value is None or isinstance(value, bool | int | float | str):
            found += [name, value]
    return [*found, repr(parameter._shape), repr(parameter.dtype)]
