"""What is known of a derivative while MXNet records for it: its leaves, and what was called.

MXNet's own graph tells what it would differentiate; `unigrad_mxnet.graph` notes every call
besides, for what MXNet's autograd cannot do. What is called is seen by `unigrad_mxnet.watching`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unigrad.errors import HigherOrderError, UnsupportedError
from unigrad_mxnet import hooks
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Notes, Run
from unigrad_mxnet.wrong_gradients import CONSTANT, RUNNING_STATISTICS

__all__ = [
    "MODES",
    "Recording",
    "active",
    "current",
    "moves_anywhere",
    "names_in",
    "noted_by",
    "operator_name",
    "reaches",
    "recording",
    "records",
    "refuse_if_recording",
    "refuse_other_threads",
]

_LIB: Any = mx.base._LIB


class _Active(threading.local):
    """Of this thread, innermost last: its recordings, and the compiled blocks that run.

    Attributes:
        capture: the one that ``ug.jit`` is at, a `unigrad_mxnet.capturing.Capture`.
    """

    def __init__(self) -> None:
        self.stack: list[Recording] = []
        self.blocks: list[Any] = []
        self.names: set[str] = set()
        self.capture: Any = None


active = _Active()

records: list[Recording] = []
"""The recordings of all threads."""


MODES: frozenset[str] = frozenset({"Dropout", "RNN", "LeakyReLU", "Custom", *RUNNING_STATISTICS})
"""Operators whose backward pass asks in which mode it runs; those without a translation may."""


class Recording:
    """One derivative being recorded: the names of its leaves in MXNet's graph.

    Attributes:
        failures: errors raised by derivative rules in MXNet's worker threads.
        rules: whether a derivative rule of unigrad's own has been recorded.
        notes: what was called.
        exact: whether MXNet's own derivative will not do.
        rule: whether it is of a derivative rule of the user's own.
        watches: whether it is of no derivative at all, but of ``ug.jit``: nothing is lost in it.
        left: whether values that depend on a leaf were looked at.
        elsewhere: whether such values were used in another thread.
        training: the mode of the operators whose backward pass asks for it; ``None``: there were
            none.
    """

    def __init__(self, leaves: Sequence[Any], exact: bool = False, rule: bool = False) -> None:
        named = () if rule else leaves
        self.leaves = frozenset[str]().union(*(names_in(x) for x in named))
        self.failures: list[BaseException] = []
        self.rules = False
        self.notes = Notes(leaves)
        self.exact = exact or rule
        self.rule = rule
        self.watches = False
        self.left = False
        self.elsewhere = False
        self.training: bool | None = None
        self.around: set[str] = set()

    def reaches(self, array: Any) -> bool:
        """Whether ``array`` depends on a leaf in a way that has a derivative."""
        return self.notes.moves(array) or reaches(array.handle, self.leaves)

    def runs_in(self, training: bool) -> None:
        """Note the mode of an operator: MXNet's backward pass has one mode for all of them."""
        if self.training is None:
            self.training = training
        elif self.training != training:
            self.exact = True

    def unseen(self, array: Any) -> bool:
        """Whether a constant of `notes` does depend on a leaf, of this recording or another."""
        return reaches(array.handle, frozenset(self.around))

    def note(
        self, name: str, make: Callable[[], Run], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> bool:
        """Note a call that depends on a leaf, of this recording or of one around it.

        Under ``ug.jit`` every call is noted: what it depends on may have changed at the next.
        """
        if active.capture is None and not any(moves_anywhere(x) for x in inputs):
            return False
        self.notes.note(name, make, inputs, outputs)
        return True

    def raise_failures(self, results: Sequence[Any]) -> None:
        """Wait for the rules that ``results`` come from, and raise what they raised."""
        if self.rules:
            for x in results:
                x.wait_to_read()
            if self.failures:
                raise self.failures.pop()


def names_in(array: Any) -> frozenset[str]:
    """Names of the variables that a recorded array depends on; none for a constant."""
    symbol = _symbol(array.handle)
    return frozenset() if symbol is None else frozenset(symbol.list_arguments())


def _symbol(handle: Any) -> Any:
    found = mx.base.SymbolHandle()
    if _LIB.MXAutogradGetSymbol(handle, ctypes.byref(found)) != 0:
        return None  # MXNet's only way to say that it is a constant
    return mx.sym.Symbol(found)


def reaches(handle: Any, leaves: frozenset[str]) -> bool:
    """Whether the array of this handle depends on a leaf in a way that has a derivative."""
    symbol = _symbol(handle)
    return symbol is not None and _dependent(json.loads(symbol.tojson()), leaves)[-1]


def _dependent(graph: dict[str, Any], leaves: frozenset[str]) -> list[bool]:
    """For each node, and last for the output, whether a leaf reaches it."""
    reached: list[bool] = []
    for node in graph["nodes"]:
        if node["op"] == "null":
            reached.append(node["name"] in leaves)
        else:
            reached.append(
                node["op"] not in CONSTANT and any(reached[i[0]] for i in node["inputs"])
            )
    reached.append(any(reached[head[0]] for head in graph["heads"]))
    return reached


def refuse_if_recording(what: str) -> None:
    """Refuse to start a derivative whose result MXNet would silently take for a constant."""
    if mx.autograd.is_recording() and not active.stack:
        raise HigherOrderError(
            f"{what} was asked for while MXNet records for itself, inside mx.autograd.record(), "
            f"and MXNet would take the result for a constant; type: with mx.autograd.pause(): "
            f"... around it if a constant is meant, or ug.grad in place of mx.autograd.record()"
        )


def refuse_other_threads(handles: Sequence[int | None]) -> None:
    """Refuse arrays that are being differentiated in other threads: MXNet records in those only."""
    if len(records) == len(active.stack):
        return
    for record in tuple(records):
        if record not in active.stack and any(record.notes.handle_moves(h) for h in handles):
            record.elsewhere = True
            if not record.watches:
                raise _elsewhere()


def _elsewhere() -> UnsupportedError:
    error: UnsupportedError = UnsupportedError(
        "an array that is being differentiated was used in another thread, where MXNet does not "
        "record, and its derivative would be lost; compute with it in the thread that calls the "
        "function, or type: x.detach() in its place if a constant is meant"
    )
    return error


@contextlib.contextmanager
def recording(
    leaves: Sequence[Any], exact: bool = False, rule: bool = False
) -> Iterator[Recording]:
    """Record what is computed from ``leaves``, watched; all flags are as before afterwards.

    Args:
        exact: MXNet's own derivative is not wanted.
        rule: it is a derivative rule of the user's own that runs.
    """
    found = Recording(leaves, exact, rule)
    if not active.stack:
        active.names = set()
    active.names |= found.leaves
    found.around = active.names
    hooks.acquire()
    try:
        active.stack.append(found)
        records.append(found)
        try:
            with mx.autograd.record(train_mode=mx.autograd.is_training()):
                yield found
            # The other thread may have kept its error to itself.
            if found.elsewhere and not found.watches:
                raise _elsewhere()
        finally:
            records.remove(found)
            active.stack.pop()
    finally:
        hooks.release()


def current() -> Recording | None:
    """The innermost recording of this thread, if MXNet is recording for it now."""
    if active.stack and mx.autograd.is_recording():
        return active.stack[-1]
    return None


def moves_anywhere(x: Any) -> bool:
    """Whether ``x`` depends on a leaf of any recording of this thread."""
    return any(r.notes.moves(x) for r in active.stack)


def noted_by(
    outer: Recording | None, name: str, run: Run, inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Let the recording around a derivative note it; it then is not MXNet's to differentiate."""
    if outer is not None and outer.note(name, lambda: run, inputs, outputs):
        outer.exact = True


_names: dict[int, str] = {}


def operator_name(handle: int) -> str:
    """The registered name of the operator with this handle."""
    name = _names.get(handle)
    if name is None:
        found = ctypes.c_char_p()
        mx.base.check_call(
            _LIB.MXSymbolGetAtomicSymbolName(ctypes.c_void_p(handle), ctypes.byref(found))
        )
        name = _names[handle] = (found.value or b"").decode()
    return name
