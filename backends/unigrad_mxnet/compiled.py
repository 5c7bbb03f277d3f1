"""``ug.jit``: a function of MXNet arrays, run once, then replayed in NumPy as one program.

The first call runs the function and notes what it does, its derivatives included (`capturing`).
From then on the arrays go to NumPy, through the recorded program (`unigrad.engine.recording`)
and back; arrays from outside are read again at each call. If the surroundings, the parameters
or the mode have changed, the function is captured anew; where it cannot be replayed, it runs,
as where it writes into its arguments: a capture works on copies, and is discarded then.
Arrays made from Python values are constants once two captures have made the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.program import simplify
from unigrad.engine.recording import Recording as Program
from unigrad.engine.replay import compile_program
from unigrad.errors import TracingError, UnigradError
from unigrad_mxnet.arrays import constant, is_np, numpy_semantics, semantics
from unigrad_mxnet.capturing import BusyError, Capture, capturing
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Graph, plain
from unigrad_mxnet.recording import active, recording
from unigrad_mxnet.second_order import agree
from unigrad_mxnet.surroundings import Around

__all__ = ["Compiled"]

Arrays = Sequence[Any]

_ATTEMPTS = 2
"""A function that cannot be replayed is captured so often: a net may have been initialized."""
_WASTED = 3
"""So many captures in a row that were never replayed are enough."""


class Compiled:
    """A function of flat arrays, as ``ug.jit`` calls it.

    Attributes:
        reason: why it is not replayed; ``None`` if it is.
    """

    def __init__(self, f: Callable[..., Arrays]) -> None:
        self.f = f
        self.reason: str | None = None
        self._entry: _Entry | None = None
        self._attempts = self._wasted = 0
        self._made: list[Any] | None = None
        self._lock = threading.Lock()

    def __call__(self, *arrays: Any) -> tuple[Any, ...] | None:
        """The results; ``None`` if the function is to be called as it is."""
        if active.stack or mx.autograd.is_recording() or not _usual(arrays):
            return None
        entry = self._entry
        if entry is not None and entry.holds():
            self._wasted = 0
            return entry(arrays)
        if self._attempts >= _ATTEMPTS or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._captured(arrays)
        except BusyError:
            return None
        finally:
            self._lock.release()

    def _captured(self, arrays: Arrays) -> tuple[Any, ...] | None:
        self._entry = None
        if self._wasted >= _WASTED:
            self._given_up("what it uses from outside changes from call to call")
            return None
        around = Around(self.f)
        if around.opaque is not None:
            self._given_up(f"it may read a {type(around.opaque).__name__}, which cannot be watched")
            self._attempts = _ATTEMPTS
            return None
        capture = Capture(around)
        training = mx.autograd.is_training()
        with semantics(*arrays):
            with mx.autograd.pause(train_mode=training):
                leaves = [x.copy() for x in arrays]
            capture.given(arrays, leaves)
            with recording(leaves, exact=True) as record, capturing(capture):
                record.watches = True
                try:
                    results = tuple(self.f(*leaves))
                except Exception as error:
                    if not (capture.seen or isinstance(error, UnigradError | mx.MXNetError)):
                        raise  # it is the function's own
                    capture.seen = True
                    capture.fail(f"{type(error).__name__}: {error}")
                    results = ()
                if record.elsewhere:
                    capture.fail("it computes in another thread")
                capture.finish()
            if capture.seen:  # what it is without being watched is for another run to tell
                capture.fail("it handles an error that it does not raise otherwise")
                capture.undo()
                self._given_up(capture.reason or "")
                if capture.writes_arguments:
                    self._attempts = _ATTEMPTS
                return None
            if capture.reason is None:
                try:
                    graph = record.notes.graph(results)
                    held = _Held(capture, graph)
                    if capture.reason is None and not self._confirmed(held, capture):
                        return results
                    if capture.reason is None:
                        self._entry = _Entry(capture, around, graph, held, leaves, results)
                except (NotImplementedError, TypeError) as error:
                    capture.fail(str(error))
        if capture.reason is not None:
            self._given_up(capture.reason)
        else:
            self.reason, self._attempts = None, 0
            self._wasted += 1
        return results

    def _confirmed(self, held: _Held, capture: Capture) -> bool:
        """Whether what was made from Python values is what the capture before made."""
        before, self._made = self._made, held.made
        if before is None and held.made:
            return False
        if held.made and not _equal(before or [], held.made):
            capture.fail("it makes other arrays from Python values at each call")
        return True

    def _given_up(self, reason: str) -> None:
        self.reason = reason
        self._attempts += 1


def _usual(arrays: Arrays) -> bool:
    """Whether all are dense, on the CPU, and of one class."""
    return len({is_np(x) for x in arrays}) == 1 and all(
        x.stype == "default" and x.ctx.device_type == "cpu" for x in arrays
    )


def _mode() -> tuple[Any, ...]:
    numpy = mx.util.is_np_shape(), mx.util.is_np_array()
    return mx.autograd.is_training(), *numpy, str(mx.context.current_context())


class _Held:
    """The constants of a graph: those to be read again, and those made on the way."""

    def __init__(self, capture: Capture, graph: Graph) -> None:
        made = [capture.is_made(x) for x in graph.arrays]
        self.read = [x for x, m in zip(graph.arrays, made, strict=True) if not m]
        self.kinds = [_kind(x) for x in self.read]
        self._values = [plain(x) if m else None for x, m in zip(graph.arrays, made, strict=True)]

    @property
    def made(self) -> list[Any]:
        return [x for x in self._values if x is not None]

    def spread(self, read: Arrays) -> list[Any]:
        """All constants, of the values of those that are read."""
        values = iter(read)
        return [next(values) if x is None else x for x in self._values]

    def alike(self) -> bool:
        return all(_kind(x) == kind for x, kind in zip(self.read, self.kinds, strict=True))


def _kind(x: Any) -> tuple[Any, ...]:
    return tuple(x.shape), x.dtype


class _Entry:
    """A capture as a program, and what must be as it was."""

    def __init__(
        self,
        capture: Capture,
        around: Around,
        graph: Graph,
        held: _Held,
        leaves: Arrays,
        results: Arrays,
    ) -> None:
        self._mode = _mode()
        self._around = around
        self._parameters = capture.parameters
        self._read, self._alike = held.read, held.alike
        self._kinds = [(*_kind(y), y.ctx, is_np(y)) for y in results]
        self._frozen: list[Any] | None = None
        values = [plain(x) for x in leaves]
        read = [plain(x) for x in held.read]
        n = len(values)

        def computed(*xs: Any) -> list[Any]:
            return graph(xs[:n], held.spread(xs[n:] if self._frozen is None else read))

        try:
            program = Program(computed, [*values, *read])
        except TracingError:
            if not read:
                raise
            self._frozen = read  # its structure may depend on them: an index, a length
            program = Program(computed, values)
        self._valid = program.valid
        self._run = compile_program(simplify(program.program))
        found = self._run(values if self._frozen is not None else [*values, *read])
        expected = [plain(y) for y in results]
        constants = held.spread(read)
        exact = all(
            np.array_equal(y, wanted)
            for y, wanted in zip(found, expected, strict=True)
            if wanted.dtype.kind != "f"
        )
        if not exact or not agree(graph, values, constants, found, expected):
            raise TracingError("its value in NumPy is not the one that MXNet gives")

    def holds(self) -> bool:
        """Whether the program is still that of the function."""
        return (
            self._mode == _mode()
            and self._around.unchanged()
            and all(_given(*p) for p in self._parameters)
            and self._alike()
            and self._valid()
            and (self._frozen is None or _equal(self._frozen, [plain(x) for x in self._read]))
        )

    def __call__(self, arrays: Arrays) -> tuple[Any, ...]:
        with semantics(*arrays):
            values = [plain(x) for x in arrays]
            if self._frozen is None:
                values += [plain(x) for x in self._read]
        found = self._run(values)
        return tuple(_array(y, *kind) for y, kind in zip(found, self._kinds, strict=True))


def _given(parameter: Any, name: str, context: Any, before: Any) -> bool:
    """Whether a parameter still gives the same arrays."""
    arrays = getattr(parameter, name)
    if arrays is None:
        return False
    now = parameter._check_and_get(arrays, context)
    if not isinstance(before, list):
        return now is before
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _equal(xs: Arrays, ys: Arrays) -> bool:
    return len(xs) == len(ys) and all(
        x.tobytes() == y.tobytes() for x, y in zip(xs, ys, strict=True)
    )


def _array(values: Any, shape: tuple[int, ...], dtype: Any, context: Any, numpy: bool) -> Any:
    with numpy_semantics():
        made = constant(np.broadcast_to(values, shape), context, np.dtype(dtype).name)
        return made if numpy else made.as_nd_ndarray()
