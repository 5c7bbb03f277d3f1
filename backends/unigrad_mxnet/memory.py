"""What MXNet's library does with arrays while unigrad records: views of their memory, new values.

Those are no operators. They are seen where Python calls the library; the places are replaced and
put back with those of `unigrad_mxnet.watching`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Run
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.recording import active, records

__all__ = ["install"]

_LIB: Any = mx.base._LIB


def _maker(key: str, how: Callable[[tuple[Any, ...], tuple[int, ...]], Run]) -> Any:
    """A function of MXNet's library that makes one more array of an array's memory."""

    def make(*args: Any) -> Any:
        code = original(key)(*args)
        if code == 0 and active.stack and mx.autograd.is_recording():
            of, view = args[0].value, args[-1]._obj
            for record in reversed(active.stack):
                if record.notes.handle_moves(of):
                    shape = _shape(view)
                    record.notes.note_view(of, view.value, how(args, shape), shape)
                    break
        return code

    return make


def _shape(handle: Any) -> tuple[int, ...]:
    ndim, sizes = ctypes.c_int(), ctypes.POINTER(ctypes.c_int)()
    mx.base.check_call(_LIB.MXNDArrayGetShapeEx(handle, ctypes.byref(ndim), ctypes.byref(sizes)))
    return tuple(sizes[: ndim.value])


def _number(x: Any) -> int:
    return x if isinstance(x, int) else int(x.value)


def _sliced(args: tuple[Any, ...], shape: tuple[int, ...]) -> Run:
    begin, end = _number(args[1]), _number(args[2])
    return lambda xs: [xs[0][begin:end]]


def _entry(args: tuple[Any, ...], shape: tuple[int, ...]) -> Run:
    index = _number(args[1])
    return lambda xs: [xs[0][index]]


def _same(args: tuple[Any, ...], shape: tuple[int, ...]) -> Run:
    return lambda xs: [xs[0].reshape(shape)]


def _free(handle: Any) -> Any:
    for record in tuple(records):
        record.notes.freed(handle.value)
    return original("MXNDArrayFree")(handle)


def _copy_from_numpy(handle: Any, *rest: Any) -> Any:
    for record in active.stack:  # MXNet itself would go on with the new values
        record.exact |= record.notes.forget(handle.value)
    return original("MXNDArraySyncCopyFromCPU")(handle, *rest)


_MAKERS = {
    "MXNDArraySlice": _sliced,
    "MXNDArraySlice64": _sliced,
    "MXNDArrayAt": _entry,
    "MXNDArrayAt64": _entry,
    "MXNDArrayReshape64": _same,
    "MXShallowCopyNDArray": _same,
}


def install() -> None:
    """Say what is replaced while something is recorded."""
    replaced("MXNDArrayFree", _LIB, "MXNDArrayFree", _free)
    replaced("MXNDArraySyncCopyFromCPU", _LIB, "MXNDArraySyncCopyFromCPU", _copy_from_numpy)
    for key, how in _MAKERS.items():
        replaced(key, _LIB, key, _maker(key, how))
