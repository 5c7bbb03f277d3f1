"""Where values leave MXNet's graph in silence, and a derivative would be lost with them.

MXNet takes them for constants: numbers, files, executors, stores, gradients of its own. An array
that is being differentiated is refused there, with what to type if a constant is meant.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from unigrad.errors import HigherOrderError, UnsupportedError
from unigrad_mxnet.framework import mx
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.memory import before_reading, before_writing
from unigrad_mxnet.recording import Recording, active, current, refuse_other_threads

__all__ = ["install"]

_LIB: Any = mx.base._LIB
_HANDLE: Any = ctypes.c_void_p

_SHOWN_OR_COUNTED = frozenset({"__repr__", "__str__", "__format__", "__bool__", "__int__"})

# -------------------------------------------------------------------- numbers


def _asnumpy(self: Any) -> Any:
    if not _only_shown():
        refuse_other_threads([self.handle.value])
        if current() is not None:
            before_reading([self.handle.value])
            for record in active.stack:
                if record.reaches(self):
                    _refuse_leaving(record)
    return original("asnumpy")(self)


def _to_dlpack(handle: Any, *rest: Any) -> Any:
    refuse_other_threads([handle.value])
    if current() is not None:
        before_reading([handle.value])
        for record in active.stack:
            if record.notes.handle_moves(handle.value):
                _refuse_leaving(record)
    return original("MXNDArrayToDLPack")(handle, *rest)


def _refuse_leaving(record: Recording) -> None:
    if record.watches:
        return
    if not record.rule:
        raise UnsupportedError(
            "an array that is being differentiated was turned into a NumPy array or a number, "
            "and its derivative would be lost; type: x.detach().asnumpy() if a constant is "
            "meant, or mx.np.stack([...]) in place of mx.np.array([...]) of arrays"
        )
    record.left = True


def _only_shown() -> bool:
    """Whether the values are only printed, or decide a branch or a count."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mxnet."):
        if frame.f_code.co_name in _SHOWN_OR_COUNTED:
            return True
        frame = frame.f_back
    return False


# -------------------------------------------------------------------- other ways out


def _refuse_lost(handles: Sequence[int | None], done: str, instead: str) -> None:
    refuse_other_threads(handles)
    if current() is not None:
        before_reading(handles)
    if current() is not None and any(
        r.notes.handle_moves(h) for r in active.stack for h in handles
    ):
        raise UnsupportedError(
            f"an array that is being differentiated was {done}, and its derivative would be "
            f"lost; type: {instead}, or x.detach() in its place if a constant is meant"
        )


def _handles(args: Sequence[Any]) -> Iterator[int | None]:
    """The handles among the arguments of a function of MXNet's library."""
    for a in args:
        if isinstance(a, _HANDLE):
            yield a.value
        elif isinstance(a, ctypes.Array) and a._type_ is _HANDLE:
            yield from a


def _left(key: str, done: str, instead: str) -> None:
    def call(*args: Any) -> Any:
        _refuse_lost(list(_handles(args)), done, instead)
        return original(key)(*args)

    replaced(key, _LIB, key, call)


_COPIED = ("copied by Python's copy module or pickled", "x.copy()")
_SAVED = ("saved to a file", "with mx.autograd.pause(): ... around it")
_SPARSE = ("asked for its `data`", "x.tostype('default') and an index")
_STORED = ("put into an mx.kv.KVStore", "the sum of the arrays")
_WAYS_OUT = {
    "MXNDArraySaveRawBytes": _COPIED,
    "MXNDArrayGetSharedMemHandle": _COPIED,
    "MXNDArraySave": _SAVED,
    "MXNDArrayGetDataNDArray": _SPARSE,
    "MXNDArraySyncCopyFromNDArray": ("made a part of a sparse array", "x.tostype('csr')"),
    **{
        f"MXKVStore{name}{ex}": _STORED
        for name in ("Init", "Push", "PushPull", "Broadcast")
        for ex in ("", "Ex")
    },
}


def _forward(self: Any, is_train: bool = False, **kwargs: Any) -> Any:
    """An executor's outputs, or those of a Module's, are constants to MXNet."""
    given = [*self.arg_arrays, *self.aux_arrays, *kwargs.values()]
    _refuse_lost(
        [x.handle.value for x in given if isinstance(x, mx.nd.NDArray)],
        "given to an executor of a symbol, or to a Module",
        "gluon.SymbolBlock(outputs, inputs) of the same symbol",
    )
    return original("forward")(self, is_train, **kwargs)


def _pulled(key: str) -> None:
    def call(*args: Any) -> Any:
        for handle in _handles(args[3:]):
            before_writing(_HANDLE(handle))
        return original(key)(*args)

    replaced(key, _LIB, key, call)


# -------------------------------------------------------------------- gradients of MXNet's own


def _backward(count: Any, handles: Any, *rest: Any) -> Any:
    refuse_other_threads([handles[i] for i in range(_number(count))])
    if current() is not None:
        raise HigherOrderError(
            "a backward pass of MXNet's own was asked for inside a function that is being "
            "differentiated, and its result would be taken for a constant; type: ug.grad in "
            "place of mx.autograd.grad or backward(), or with mx.autograd.pause(): ... around "
            "it if a constant is meant"
        )
    return original("backward")(count, handles, *rest)


def _mark(count: Any, handles: Any, *rest: Any) -> Any:
    """``attach_grad`` cuts an array off from what it was computed from."""
    marked = [handles[i] for i in range(_number(count))]
    refuse_other_threads(marked)
    if any(record.notes.is_result(h) for record in active.stack for h in marked):
        raise UnsupportedError(
            "attach_grad() was called on a result inside a function that is being "
            "differentiated, and cuts off its derivative; leave it out, or type: "
            "x = x.detach() if a constant is meant"
        )
    return original("mark")(count, handles, *rest)


def _number(x: Any) -> int:
    return x if isinstance(x, int) else int(x.value)


# -------------------------------------------------------------------- the places


def install() -> None:
    """Say what is replaced while something is recorded."""
    replaced("asnumpy", mx.nd.NDArray, "asnumpy", _asnumpy)
    replaced("MXNDArrayToDLPack", _LIB, "MXNDArrayToDLPack", _to_dlpack)
    replaced("forward", mx.executor.Executor, "forward", _forward)
    replaced("backward", _LIB, "MXAutogradBackwardEx", _backward)
    replaced("mark", _LIB, "MXAutogradMarkVariables", _mark)
    for key, (done, instead) in _WAYS_OUT.items():
        _left(key, done, instead)
    for name in ("MXKVStorePullWithSparse", "MXKVStorePullRowSparse"):
        _pulled(name)
        _pulled(f"{name}Ex")
