"""A derivative rule of one's own in MXNet's recorded graph.

``mx.autograd.Function`` is not used: it drops every gradient after an input whose own is not
needed, never writes where gradients are added up, and only prints an error raised in the rule.
MXNet calls the rule from a thread of its own, where no scope of the caller is in force.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unigrad.errors import ShapeError, UnsupportedError
from unigrad_mxnet.arrays import as_class, is_np, overwrite, semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.recording import Recording, current, names_in
from unigrad_mxnet.second_order import noted_rule

__all__ = ["apply_rule"]

Forward = Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]]
Backward = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]

_record_function: Any = mx.base._LIB.MXCustomFunctionRecord
_HANDLE: Any = mx.base.NDArrayHandle
_NULL, _ADD = 0, 3

_backward_type = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
    ctypes.c_void_p,
)
_delete_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_plain_type = ctypes.CFUNCTYPE(ctypes.c_int)

_kept: dict[int, tuple[Any, ...]] = {}
"""What MXNet holds pointers to, until it says that it is done with them."""
_keys = itertools.count()


def apply_rule(
    forward: Forward,
    backward: Backward,
    primals: Sequence[Any],
    values: Callable[..., Sequence[Any]] | None = None,
) -> tuple[Any, ...]:
    """Outputs of ``forward``, recorded with ``backward`` as their derivative.

    Args:
        values: the same function in plain NumPy, where it has one.
    """
    found = current()
    if found is None:
        return _applied(forward, backward, primals)
    if values is None:
        return noted_rule(lambda f: _applied(f, backward, primals), forward, backward, primals)
    outputs = _applied(forward, backward, primals)
    found.note("a function of NumPy's", lambda: lambda xs: values(*xs), primals, outputs)
    return outputs


def _applied(forward: Forward, backward: Backward, primals: Sequence[Any]) -> tuple[Any, ...]:
    is_recording = mx.autograd.is_recording()
    made, residuals = forward(*[x.detach() for x in primals] if is_recording else primals)
    if is_recording:
        _refuse_closures(made)
    with _not_recording():
        outputs = tuple(y.copy() for y in made)
    if is_recording:
        inputs = [x for x in primals if isinstance(x, mx.nd.NDArray)]
        _record(lambda cotangents: backward(residuals, cotangents), inputs, outputs, current())
    return outputs


def _refuse_closures(outputs: Sequence[Any]) -> None:
    """The rule is for its arguments alone: anything else would get a derivative of zero."""
    if any(name.startswith("var") for y in outputs for name in names_in(y)):
        raise UnsupportedError(
            "a function with a custom derivative uses a differentiated array that is not among "
            "its arguments, and would lose its derivative; pass it as an argument"
        )


@contextlib.contextmanager
def _not_recording() -> Iterator[None]:
    before = mx.autograd.set_recording(False)
    try:
        yield
    finally:
        mx.autograd.set_recording(before)


def _record(
    rule: Callable[[Sequence[Any]], Sequence[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    found: Recording | None,
) -> None:
    kinds = [is_np(y) for y in outputs]

    def entry(n: int, m: int, handles: Any, requests: Any, training: int, _: Any) -> int:
        arrays = [_wrap(handles[i], kinds[i]) for i in range(n)]
        grads = [_wrap(handles[n + i], is_np(x)) for i, x in enumerate(inputs)]
        try:
            with semantics(*inputs, *outputs):
                mx.autograd.set_training(bool(training))
                _write(rule(arrays), grads, requests)
        except BaseException as error:  # it must not pass through MXNet's C frames
            if found is None:
                raise
            found.failures.append(error)
            return 1
        return 1

    def delete(_: Any) -> int:
        _kept.pop(key, None)
        return 1

    key = next(_keys)
    callbacks = (_backward_type(entry), _delete_type(delete))
    pointers = (_plain_type * 2)(*(ctypes.cast(c, _plain_type) for c in callbacks))
    contexts = (ctypes.c_void_p * 2)(None, None)
    listed = mx.base.MXCallbackList(
        2,
        ctypes.cast(pointers, ctypes.POINTER(_plain_type)),
        ctypes.cast(contexts, ctypes.POINTER(ctypes.c_void_p)),
    )
    _kept[key] = (callbacks, pointers, contexts, listed)
    if found is not None:
        found.rules = True
    mx.base.check_call(
        _record_function(
            ctypes.c_int(len(inputs)),
            mx.base.c_handle_array(inputs),
            ctypes.c_int(len(outputs)),
            mx.base.c_handle_array(outputs),
            ctypes.byref(listed),
        )
    )


def _wrap(handle: int, numpy_class: bool) -> Any:
    make = mx.np.ndarray if numpy_class else mx.nd.NDArray
    return make(ctypes.cast(handle, _HANDLE))


def _write(results: Sequence[Any], grads: Sequence[Any], requests: Any) -> None:
    if len(results) != len(grads):
        raise ShapeError(
            f"a custom derivative rule gave {len(results)} cotangents for {len(grads)} arguments"
        )
    for i, (grad, result) in enumerate(zip(grads, results, strict=True)):
        if requests[i] == _NULL:
            continue
        value = 0 if result is None else as_class(result, grad)
        if requests[i] == _ADD:
            grad += value
        elif grad.size:
            overwrite(grad, value)
