"""What MXNet's library does with arrays while unigrad records: views of their memory, new values.

Those are no operators. They are seen where Python calls the library; the places are replaced and
put back with those of `unigrad_mxnet.watching`. A constant that is written after it was used is
noted as it was; MXNet itself would go on with its new values.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad_mxnet.arrays import is_np
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Run
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.recording import active, records

__all__ = ["before_writing", "copied", "install"]

_LIB: Any = mx.base._LIB
_DTYPES: Any = mx.nd.ndarray._DTYPE_MX_TO_NP


def before_writing(handle: Any) -> None:
    """The array of this handle is about to be written, whether MXNet records or not."""
    if not any(record.notes.constants for record in active.stack):
        return
    written = _place(handle)
    for record in active.stack:
        if not record.notes.handle_moves(handle.value):
            record.exact |= record.notes.forget(handle.value)
        if written is not None:
            record.exact |= record.notes.forget_overlapping(written, _place)


def _place(handle: Any) -> tuple[int, int] | None:
    """Where the values of an array are, from and to; ``None`` for a sparse one."""
    kind, code, start = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    mx.base.check_call(_LIB.MXNDArrayGetStorageType(handle, ctypes.byref(kind)))
    if kind.value != 0:
        return None
    mx.base.check_call(_LIB.MXNDArrayWaitToRead(handle))  # before, the memory may not be there
    mx.base.check_call(_LIB.MXNDArrayGetDType(handle, ctypes.byref(code)))
    mx.base.check_call(_LIB.MXNDArrayGetData(handle, ctypes.byref(start)))
    size = math.prod(_shape(handle)) * np.dtype(_DTYPES[code.value]).itemsize
    return start.value or 0, (start.value or 0) + size


def copied(x: Any) -> Any:
    """A copy of ``x``, unseen by `unigrad_mxnet.watching`; MXNet records it if it records."""
    handle = ctypes.c_void_p()
    mx.base.check_call(_LIB.NNGetOpHandle(b"_copy", ctypes.byref(handle)))
    return original("invoke")(handle.value, [x], [], [], None, is_np(x), False)


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
    before_writing(handle)
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
