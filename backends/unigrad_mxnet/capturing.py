"""What a function under ``ug.jit`` does, seen while it runs once: may it be replayed in NumPy?

A replay gives the right numbers only if every array that the function used is a result of a call
that was noted, was made from Python values on the way, or is read again at each call: an array of
the surroundings, of a Gluon parameter or of a block. Anything else, and whatever looks at values,
draws at random or writes into arrays from outside, leaves the function as it is.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from unigrad import engine
from unigrad.errors import UnigradError, UnsupportedError
from unigrad_mxnet import hooks, memory, watching
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Run, Token, translated
from unigrad_mxnet.operators import OPERATORS
from unigrad_mxnet.recording import active, operator_name
from unigrad_mxnet.surroundings import Around
from unigrad_mxnet.wrong_gradients import CONSTANT, RANDOM

__all__ = ["BusyError", "Capture", "capturing"]

_LIB: Any = mx.base._LIB


class Capture:
    """One run of a function, watched.

    Attributes:
        reason: why it cannot be replayed; ``None`` if it can.
        parameters: which arrays Gluon's parameters gave.
        seen: whether the function may have noticed that it is watched, by an error that it does
            not raise otherwise, or has written into copies: its results are not to be used.
        writes_arguments: whether it writes into its arguments, of which it has got copies.
    """

    def __init__(self, around: Around) -> None:
        self.reason: str | None = None
        self.parameters: list[tuple[Any, str, Any, Any]] = []
        self._around = around
        self.seen = self.writes_arguments = False
        self._arguments: list[tuple[Any, Any]] = []
        self._origins: dict[int | None, bool] = {}  # whether an array was made on the way
        self._viewed: set[int | None] = set()
        self._before = np.random.get_state(), random.getstate()
        self._state = _random_state()
        self._written: list[tuple[Any, Any]] = []
        self._records = False
        self._held: list[Any] = []
        for x in around.found:
            self._source(x)

    def fail(self, reason: str) -> None:
        self.reason = self.reason or reason

    def given(self, arrays: Sequence[Any], copies: Sequence[Any]) -> None:
        """The run starts, with copies in place of the arguments."""
        self._arguments = list(zip(arrays, copies, strict=True))

    def finish(self) -> None:
        """The run is over."""
        if not all(memory.same_bytes(x, copy) for x, copy in self._arguments):
            self._writes_arguments()  # in another thread, or by way of another library
        if _random_state() != self._state or self._around.drew():
            self.fail("it draws random numbers")
        if not self._around.unchanged():
            self.fail("it changes what it uses from outside")
        if self._around.opaque is not None:
            self.fail("it calls a block that cannot be watched")

    def undo(self) -> None:
        """Put back what the run has changed, for another one."""
        self._around.restore()
        np.random.set_state(self._before[0])
        random.setstate(self._before[1])
        with mx.autograd.pause(train_mode=mx.autograd.is_training()):
            for x, values in reversed(self._written):
                x._sync_copyfrom(values)

    def is_made(self, x: Any) -> bool:
        """Whether a constant was made from Python values; notes where it comes from nowhere."""
        if isinstance(x, Token) or x.stype != "default" or x.ctx.device_type != "cpu":
            self.fail("it uses a derivative or an array of another kind from outside")
            return False
        made = self._origins.get(x.handle.value)
        if made is None:
            self.fail("it uses an array that is not known to be the same at the next call")
        return bool(made)

    # ---------------------------------------------------------------- what is seen

    def _source(self, x: Any) -> None:
        self._held.append(x)
        self._origins[x.handle.value] = False

    def made(self, handle: int | None) -> None:
        self._origins[handle] = True

    def freed(self, handle: int | None) -> None:
        self._origins.pop(handle, None)
        self._viewed.discard(handle)

    def viewed(self, of: int | None, view: int | None) -> None:
        self._viewed |= {of, view}
        if of in self._origins:
            self._origins[view] = self._origins[of]

    def detached(self, of: int, view: int, shape: tuple[int, ...]) -> None:
        self.viewed(of, view)
        for record in reversed(active.stack):
            if record.notes.handle_moves(of):
                record.notes.note_view(of, view, lambda xs: [_stopped(xs[0])], shape)
                return

    def writes(self, place: tuple[int, int] | None) -> None:
        """These places of the memory are about to be written.

        Raises:
            UnsupportedError: if they are an argument's; the run is of no use then.
        """
        if place is None:
            return
        if any(memory.overlap(x, place) for pair in self._arguments for x in pair):
            self._writes_arguments()
            raise UnsupportedError("ug.jit does not capture a write into an argument")
        self._written += [
            (x, hooks.original("asnumpy")(x))
            for x in self._held
            if x.stype == "default" and memory.overlap(x, place)
        ]

    def _writes_arguments(self) -> None:
        self.fail("it writes into an argument")
        self.seen = self.writes_arguments = True

    def filled(self, handle: int | None) -> None:
        """An array is written with Python's values."""
        if self._origins.get(handle) is not True or handle in self._viewed:
            self.fail("it writes into an array")

    def parameter(self, parameter: Any, arrays: Any, context: Any, given: Any) -> None:
        kind = {id(parameter._data): "_data", id(parameter._grad): "_grad"}.get(id(arrays))
        if kind is None:
            self.fail("it asks a parameter for other arrays than its data or gradient")
            return
        self.parameters.append((parameter, kind, context, given))
        for x in given if isinstance(given, list) else (given,):
            self._source(x)

    def block(self, block: Any) -> None:
        for x in self._around.block(block):
            self._source(x)

    def hides(self) -> bool:
        """Whether the function is to be told that MXNet does not record: only we do."""
        outermost = len(active.stack) == 1
        self.seen |= outermost and self._records  # then who records is not known
        return outermost and not self._records

    def records(self) -> None:
        """The function records for itself."""
        self._records |= len(active.stack) == 1

    def calls(
        self, name: str, arrays: Sequence[Any], given: dict[str, Any], out: Sequence[Any]
    ) -> None:
        """An operator is about to run."""
        if name not in OPERATORS or name in RANDOM:
            self.fail(f"it calls {name}")
        if name == "Dropout" and (mx.autograd.is_training() or given.get("mode") == "always"):
            self.fail("it drops at random")
        inputs = {x.handle.value for x in arrays}
        for y in out:
            handle = y.handle.value
            known = handle in self._origins or any(
                r.notes.handle_moves(handle) for r in active.stack
            )
            if handle in self._viewed or self._origins.get(handle) is False or not known:
                self.fail("it writes into an array")
                if y.stype == "default":
                    self._written.append((y, hooks.original("asnumpy")(y)))
            if handle in inputs and (name in CONSTANT or not mx.autograd.is_recording()):
                self.fail("it writes into an array")

    def called(
        self,
        name: str,
        arrays: Sequence[Any],
        keys: Sequence[str],
        values: Sequence[Any],
        results: Sequence[Any],
        training: bool,
    ) -> None:
        """An operator has run: what it gives outside any recording, or as a constant, is noted."""
        for y in results:
            self._origins.pop(y.handle.value, None)
        if self.reason is None and (name in CONSTANT or not mx.autograd.is_recording()):
            active.stack[-1].notes.note(
                name,
                lambda: _without_derivative(translated(name, keys, values, training)),
                arrays,
                results,
            )


def _without_derivative(run: Run) -> Run:
    return lambda xs: run([_stopped(x) for x in xs])


def _stopped(x: Any) -> Any:
    return engine.stop_gradient(x)


def _random_state() -> Any:
    state: Any = np.random.get_state()
    return (*state[2:4], state[1].tobytes(), random.getstate())


# -------------------------------------------------------------------- the places

_VIEWS = (
    "MXNDArraySlice",
    "MXNDArraySlice64",
    "MXNDArrayAt",
    "MXNDArrayAt64",
    "MXNDArrayReshape64",
    "MXShallowCopyNDArray",
)
_MAKERS = ("MXNDArrayCreateEx", "MXNDArrayCreateEx64", "MXNDArrayCreateNone")
_FORBIDDEN = {
    **dict.fromkeys(
        (
            "MXNDArrayToDLPack",
            "MXNDArraySaveRawBytes",
            "MXNDArrayGetSharedMemHandle",
            "MXNDArraySave",
            "MXNDArrayGetDataNDArray",
            "MXNDArrayGetAuxNDArray",
            "MXNDArraySyncCopyFromNDArray",
        ),
        "it lets values leave MXNet",
    ),
    "MXAutogradBackwardEx": "it calls MXNet's own backward",
    "MXCustomFunctionRecord": "it has a derivative rule of its own",
    "MXRandomSeed": "it draws random numbers",
    "MXRandomSeedContext": "it draws random numbers",
}

_OWN = {
    *("_imperative_invoke", "asnumpy", "MXNDArrayDetach", "MXNDArrayFree"),
    *("MXNDArraySyncCopyFromCPU", *_VIEWS, *_MAKERS, *_FORBIDDEN),
}

Wrapper = Callable[[Callable[..., Any], Capture, tuple[Any, ...]], Any]


def _invoke(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    handle, arrays, keys, values, out = args[:5]
    name, training = operator_name(handle), mx.autograd.is_training()
    given = dict(zip(keys, map(str, values), strict=True))
    capture.calls(name, arrays, given, () if out is None else _listed(out))
    results = inner(*args)
    capture.called(name, arrays, keys, values, _listed(results), training)
    return results


def _listed(x: Any) -> Sequence[Any]:
    return (x,) if isinstance(x, mx.nd.NDArray) else x


def _view(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    code = inner(*args)
    capture.viewed(args[0].value, args[-1]._obj.value)
    return code


def _detach(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    code = inner(*args)
    view = args[1]._obj
    capture.detached(args[0].value, view.value, memory._shape(view))
    return code


def _make(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    code = inner(*args)
    capture.made(args[-1]._obj.value)
    return code


def _zeros(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    made = inner(*args)
    capture.made(made.handle.value)
    return made


def _fill(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    capture.filled(args[0].value)
    return inner(*args)


def _asnumpy(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    capture.fail("it looks at a value")
    return inner(*args)


def _get(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    given = inner(*args)
    parameter, arrays, context = args
    capture.parameter(parameter, arrays, context, given)
    return given


def _call(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    capture.block(args[0])
    return inner(*args)


def _asked(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    """``mx.autograd.is_recording()``: MXNet records for the capture, which is not to be seen."""
    code = inner(*args)
    if _asked_by_user() and capture.hides():
        args[0]._obj.value = False
    return code


def _switched(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    if args[0].value and _asked_by_user():
        capture.records()
    return inner(*args)


def _asked_by_user() -> bool:
    """Whether a function of `mxnet.autograd` was called neither by MXNet nor by us."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module not in (__name__, "mxnet.autograd"):
            return module.partition(".")[0] not in ("mxnet", "unigrad", "unigrad_mxnet")
        frame = frame.f_back
    return False


def _seen_only(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
    return inner(*args)


def _refusal(reason: str) -> Wrapper:
    def call(inner: Callable[..., Any], capture: Capture, args: tuple[Any, ...]) -> Any:
        capture.fail(reason)
        return inner(*args)

    return call


def _places() -> Iterator[tuple[Any, str, Wrapper]]:
    yield sys.modules["mxnet.ndarray.register"], "_imperative_invoke", _invoke
    yield watching, "_invoke", _invoke
    yield sys.modules["mxnet.ndarray.numpy._api_internal"], "zeros", _zeros
    yield mx.nd.NDArray, "asnumpy", _asnumpy
    yield mx.gluon.Parameter, "_check_and_get", _get
    yield mx.gluon.Block, "__call__", _call
    yield _LIB, "MXNDArrayDetach", _detach
    yield _LIB, "MXAutogradIsRecording", _asked
    yield _LIB, "MXAutogradSetIsRecording", _switched
    yield _LIB, "MXNDArraySyncCopyFromCPU", _fill
    for name in _VIEWS:
        yield _LIB, name, _view
    for name in _MAKERS:
        yield _LIB, name, _make
    for name, reason in _FORBIDDEN.items():
        yield _LIB, name, _refusal(reason)
    for owner, name in hooks.places():
        if name not in _OWN and owner is not mx.np.ndarray:  # static methods, which say it
            yield owner, name, _seen_only


_lock = threading.Lock()


class BusyError(Exception):
    """Another thread captures."""


@contextlib.contextmanager
def capturing(capture: Capture) -> Iterator[None]:
    """Let ``capture`` see what this thread does, inside a recording; one thread at a time.

    Raises:
        BusyError: if another thread is at it.

    Trap: inside, so that the hooks of `unigrad_mxnet.hooks` stay as they are while these are in.
    """
    if not _lock.acquire(blocking=False):
        raise BusyError
    try:
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in _places()]
        free = _LIB.MXNDArrayFree

        def freed(handle: Any) -> Any:
            capture.freed(handle.value)  # in whichever thread
            return free(handle)

        for (owner, name, inner), (_, _, wrapper) in zip(before, _places(), strict=True):
            setattr(owner, name, _wrapped(inner, wrapper))
        _LIB.MXNDArrayFree = freed
        active.capture = capture
        try:
            yield
        finally:
            active.capture = None
            _LIB.MXNDArrayFree = free
            for owner, name, inner in before:
                setattr(owner, name, inner)
    finally:
        _lock.release()


def _wrapped(inner: Callable[..., Any], wrapper: Wrapper) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        capture = active.capture
        if capture is None:
            return inner(*args, **kwargs)
        try:
            return wrapper(lambda *given: inner(*given, **kwargs), capture, args)
        except (UnigradError, mx.MXNetError):
            capture.seen = True  # whoever catches it
            raise

    return call
