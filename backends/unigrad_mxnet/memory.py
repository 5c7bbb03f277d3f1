"""What MXNet's library does with arrays while unigrad records: views of their memory, new values.

Those are no operators. They are seen where Python calls the library; the places are replaced and
put back with those of `unigrad_mxnet.watching`. A constant that is written after it was used is
noted as it was; MXNet itself would go on with its new values.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.errors import UnsupportedError
from unigrad_mxnet.arrays import is_np, peek, semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Notes, Run
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.recording import (
    Recording,
    active,
    moves_anywhere,
    records,
    refuse_other_threads,
)

__all__ = [
    "UPDATES",
    "Kept",
    "before_reading",
    "before_update",
    "before_writing",
    "copied",
    "install",
    "overlap",
    "same_bytes",
]

_LIB: Any = mx.base._LIB
_DTYPES: Any = mx.nd.ndarray._DTYPE_MX_TO_NP

_ONE = 1 << 10  # longer than any list of inputs
UPDATES: dict[str, tuple[int, tuple[int, ...]]] = {
    "sgd_update": (_ONE, ()),
    "signsgd_update": (_ONE, ()),
    "lamb_update_phase2": (_ONE, ()),
    "_sparse_sgd_update": (_ONE, ()),
    "multi_sgd_update": (2, ()),
    "preloaded_multi_sgd_update": (2, ()),
    **dict.fromkeys(
        (
            "sgd_mom_update",
            "mp_sgd_update",
            "nag_mom_update",
            "rmsprop_update",
            "signum_update",
            "_contrib_group_adagrad_update",
            "_sparse_adagrad_update",
        ),
        (_ONE, (2,)),
    ),
    **dict.fromkeys(
        (
            "adam_update",
            "ftrl_update",
            "lamb_update_phase1",
            "mp_lamb_update_phase1",
            "mp_nag_mom_update",
            "mp_sgd_mom_update",
            "_adamw_update",
        ),
        (_ONE, (2, 3)),
    ),
    **dict.fromkeys(("ftml_update", "rmspropalex_update", "_mp_adamw_update"), (_ONE, (2, 3, 4))),
    "mp_lamb_update_phase2": (_ONE, (4,)),
    **dict.fromkeys(
        (
            "multi_mp_sgd_update",
            "multi_sgd_mom_update",
            "preloaded_multi_mp_sgd_update",
            "preloaded_multi_sgd_mom_update",
        ),
        (3, (2,)),
    ),
    **dict.fromkeys(
        (
            "multi_mp_sgd_mom_update",
            "preloaded_multi_mp_sgd_mom_update",
            "_multi_adamw_update",
            "_multi_lamb_update",
        ),
        (4, (2, 3)),
    ),
    **dict.fromkeys(("_multi_mp_adamw_update", "_multi_mp_lamb_update"), (5, (2, 3, 4))),
    "reset_arrays": (1, (0,)),
}
"""Operators that write into their inputs: those at these places, and every so many further."""


def before_writing(handle: Any, noting: Recording | None = None) -> None:
    """The array of this handle is about to be written, whether MXNet records or not.

    Args:
        noting: the recording that will note what is written; MXNet itself refuses it if it must.
    """
    if not records:
        return
    refuse_other_threads([handle.value])
    for record in tuple(records):
        if record not in active.stack:  # of that thread this array alone is looked for
            record.exact |= record.notes.forget(handle.value)
    written = _place(handle) if active.stack else None
    if active.capture is not None:
        active.capture.writes(written)
    for record in active.stack:
        if not record.notes.handle_moves(handle.value):
            record.exact |= record.notes.forget(handle.value)
        elif record.rule and record is not noting:
            record.notes.freed(handle.value)
        elif record is not noting:
            raise _written()
        if written is not None:
            if record.notes.moves_in(written, _place, handle.value):
                raise _written()
            record.exact |= record.notes.forget_overlapping(written, _place)


def _written() -> UnsupportedError:
    error: UnsupportedError = UnsupportedError(
        "an array that is being differentiated was written in place, where MXNet does not record, "
        "and its derivative would be that of the old values; write into a copy: x = x.copy() "
        "first, or mx.nd.where, mx.nd.concat or mx.nd.stack in place of writing"
    )
    return error


def before_reading(handles: Sequence[int | None]) -> None:
    """Arrays are about to be used: none may have been written through another one, like a view.

    MXNet would take the values that it finds there for constants.
    """
    found = [r.notes for r in active.stack if r.notes.written]
    if not found:
        return
    strict = active.capture is not None  # it notes as made of a leaf whatever is made
    for handle in handles:
        if not strict and any(r.notes.handle_moves(handle) for r in active.stack):
            continue
        if any(notes.overwritten(handle, _place, strict) for notes in found):
            raise UnsupportedError(
                "an array is used whose memory was written through another array (a view such as "
                "y[1:3] or y.reshape(...), or the array that it is a view of) with values that "
                "are being differentiated, and their derivative would be lost; type: "
                "mx.nd.concat, mx.nd.stack or mx.nd.where of the parts in place of writing them, "
                "or make the view after y[:] = ...; x.detach() if a constant is meant"
            )


def before_update(name: str, arrays: Sequence[Any], found: Recording | None) -> None:
    """An optimizer's operator writes into its inputs, besides its outputs."""
    if found is not None and any(moves_anywhere(x) for x in arrays):
        raise UnsupportedError(
            f"a derivative through MXNet's operator {name!r} was asked for, which writes into its "
            f"inputs and has none; write the update out, for instance: w = w - lr * gradient; or "
            f"type: with mx.autograd.pause(): ... around it if a constant is meant"
        )
    step, places = UPDATES[name]
    for place in places:
        for x in arrays[place::step]:
            before_writing(x.handle)


class Kept:
    """The constants of a recording as they are now, for a pullback that is called later."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.pairs = [(slot, x, copy) for slot, x in notes.shared() for copy in [_kept(x)]]

    def put_back(self) -> bool:
        """Whether a constant has been written since; if so, the recording has them as they were."""
        if all(same_bytes(x, copy) for _, x, copy in self.pairs):
            return False
        self.notes.constants.update({slot: copy for slot, _, copy in self.pairs})
        return True


def _kept(x: Any) -> Any:
    with semantics(x), mx.autograd.pause(train_mode=mx.autograd.is_training()):
        return copied(x)


def same_bytes(x: Any, copy: Any) -> bool:
    if x.shape != copy.shape or x.dtype != copy.dtype:
        return False
    places = [_place(y.handle) for y in (x, copy)]
    if x.ctx.device_type == "gpu" or None in places:
        return bool(np.array_equal(peek(x), peek(copy), equal_nan=True))
    one, other = ((ctypes.c_uint8 * (p[1] - p[0])).from_address(p[0]) for p in places if p)
    return bool(np.array_equal(np.ctypeslib.as_array(one), np.ctypeslib.as_array(other)))


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


def overlap(x: Any, written: tuple[int, int]) -> bool:
    """Whether an array has values in these places of the memory."""
    own = _place(x.handle)
    return own is not None and max(own[0], written[0]) < min(own[1], written[1])


def copied(x: Any) -> Any:
    """A copy of ``x``, unseen by `unigrad_mxnet.watching`; MXNet records it if it records."""
    refuse_other_threads([x.handle.value])
    handle = ctypes.c_void_p()
    mx.base.check_call(_LIB.NNGetOpHandle(b"_copy", ctypes.byref(handle)))
    return original("invoke")(handle.value, [x], [], [], None, is_np(x), False)


def _maker(key: str, how: Callable[[tuple[Any, ...], tuple[int, ...]], Run]) -> Any:
    """A function of MXNet's library that makes one more array of an array's memory."""

    def make(*args: Any) -> Any:
        code = original(key)(*args)
        refuse_other_threads([args[0].value])
        of, view = args[0].value, args[-1]._obj
        if code == 0:
            for record in active.stack:
                if of in record.notes.detached:
                    record.notes.detached.add(view.value)
        if code == 0 and active.stack and mx.autograd.is_recording():
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


def _detach(handle: Any, view: Any) -> Any:
    code = original("MXNDArrayDetach")(handle, view)
    for record in active.stack:
        record.notes.detached.add(view._obj.value)
    return code


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
    replaced("MXNDArrayDetach", _LIB, "MXNDArrayDetach", _detach)
    replaced("MXNDArraySyncCopyFromCPU", _LIB, "MXNDArraySyncCopyFromCPU", _copy_from_numpy)
    for key, how in _MAKERS.items():
        replaced(key, _LIB, key, _maker(key, how))
