"""What unigrad watches while MXNet records for it, so that nothing wrong passes in silence.

MXNet loses derivatives without a word: operators with a wrong or missing gradient, values that
leave for NumPy, nested backward passes. All of them go through few Python places; those are
replaced while some thread records for unigrad, act on the threads that do, and are put back.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from unigrad.errors import HigherOrderError, UnsupportedError
from unigrad_mxnet.framework import mx
from unigrad_mxnet.wrong_gradients import CONSTANT, RUNNING_STATISTICS, TRAINING_FORWARD, WRONG

__all__ = ["Recording", "names_in", "recording", "refuse_if_recording"]

_LIB: Any = mx.base._LIB

_SHOWN_OR_COUNTED = frozenset({"__repr__", "__str__", "__format__", "__bool__", "__int__"})


class _Active(threading.local):
    """Of this thread, innermost last: its recordings, and the compiled blocks that run."""

    def __init__(self) -> None:
        self.stack: list[Recording] = []
        self.blocks: list[Any] = []


_active = _Active()


class Recording:
    """One derivative being recorded: the names of its leaves in MXNet's graph.

    Attributes:
        failures: errors raised by derivative rules in MXNet's worker threads.
        rules: whether a derivative rule of unigrad's own has been recorded.
    """

    def __init__(self, leaves: Sequence[Any]) -> None:
        self.leaves = frozenset(mx.autograd.get_symbol(x).name for x in leaves)
        self.failures: list[BaseException] = []
        self.rules = False

    def reaches(self, array: Any) -> bool:
        """Whether ``array`` depends on a leaf in a way that has a derivative."""
        return reaches(array.handle, self.leaves)

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
    if mx.autograd.is_recording():
        raise HigherOrderError(
            f"{what} was asked for while MXNet records (inside another derivative, or inside "
            f"mx.autograd.record()), and MXNet would take the result for a constant; type: "
            f"with mx.autograd.pause(): ... around it if a constant is meant, or compute on "
            f"another backend: ug.asarray(tree, backend='numpy')"
        )


@contextlib.contextmanager
def recording(leaves: Sequence[Any]) -> Iterator[Recording]:
    """Record what is computed from ``leaves``, watched; all flags are as before afterwards."""
    found = Recording(leaves)
    _hooks.acquire()
    try:
        _active.stack.append(found)
        try:
            with mx.autograd.record(train_mode=mx.autograd.is_training()):
                yield found
        finally:
            _active.stack.pop()
    finally:
        _hooks.release()


def current() -> Recording | None:
    """The innermost recording of this thread, if MXNet is recording for it now."""
    if _active.stack and mx.autograd.is_recording():
        return _active.stack[-1]
    return None


# -------------------------------------------------------------------- operators

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


def _refuse_wrong(
    found: Recording, name: str, arrays: Sequence[Any], keys: Sequence[str], values: Sequence[Any]
) -> None:
    attributes = dict(zip(keys, map(str, values), strict=True))
    for case in WRONG[name]:
        if not case.when(attributes, arrays):
            continue
        places = range(len(arrays)) if case.inputs is None else case.inputs
        if any(found.reaches(arrays[i]) for i in places if i < len(arrays)):
            raise UnsupportedError(
                f"a derivative through MXNet's operator {name!r} was asked for, but "
                f"{case.reason}; type: {case.instead}"
            )


def _copied(arrays: Sequence[Any], count: int) -> list[Any]:
    """The inputs with copies in place of the running statistics, which backward writes (S16)."""
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        return [*arrays[:-count], *[a.copy() for a in arrays[-count:]]]


def _invoke(
    handle: int,
    arrays: Sequence[Any],
    keys: Sequence[str],
    values: Sequence[Any],
    out: Any,
    is_np_op: bool,
    output_is_list: bool,
) -> Any:
    run = _hooks.originals["invoke"]
    found = current()
    if found is None:
        return run(handle, arrays, keys, values, out, is_np_op, output_is_list)
    name = operator_name(handle)
    if name in WRONG:
        _refuse_wrong(found, name, arrays, keys, values)
    if name in RUNNING_STATISTICS:
        arrays = _copied(arrays, RUNNING_STATISTICS[name])
    if name in TRAINING_FORWARD:
        with mx.autograd.train_mode():
            return run(handle, arrays, keys, values, out, is_np_op, output_is_list)
    return run(handle, arrays, keys, values, out, is_np_op, output_is_list)


# -------------------------------------------------------------------- compiled blocks


def _call_block(self: Any, *args: Any) -> Any:
    _active.blocks.append(self)
    try:
        return _hooks.originals["block"](self, *args)
    finally:
        _active.blocks.pop()


def _call_graph(self: Any, *args: Any, **kwargs: Any) -> Any:
    """A hybridized block's graph: as it is if all of it is right, operator by operator if not."""
    run = _hooks.originals["graph"]
    if current() is None:
        return run(self, *args, **kwargs)
    block = _active.blocks[-1] if _active.blocks else None
    if block is None or block._cached_op is not self:
        raise UnsupportedError(
            "a derivative through an mx.nd.CachedOp was asked for, but its operators cannot be "
            "looked at from outside; type: a gluon.SymbolBlock of its symbol"
        )
    symbol = block._cached_graph[1]
    graph = json.loads(symbol.tojson())
    watched = WRONG.keys() | RUNNING_STATISTICS.keys() | TRAINING_FORWARD
    if not any(node["op"] in watched for node in _nodes(graph)):
        return run(self, *args, **kwargs)
    if any("subgraphs" in node for node in graph["nodes"]):
        raise UnsupportedError(
            f"a derivative through the hybridized {type(block).__name__} was asked for, but its "
            f"loops and branches cannot be looked at; type: block.hybridize(False)"
        )
    return _replayed(graph, dict(zip(symbol.list_inputs(), args, strict=True)), self.is_np_sym)


def _nodes(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in graph["nodes"]:
        yield node
        for inner in node.get("subgraphs", ()):
            yield from _nodes(inner)


def _replayed(graph: dict[str, Any], inputs: dict[str, Any], is_np: bool) -> Any:
    values: list[list[Any]] = []
    for node in graph["nodes"]:
        if node["op"] == "null":
            values.append([inputs[node["name"]]])
            continue
        given = {k: v for k, v in node.get("attrs", {}).items() if not k.startswith("__")}
        arrays = [values[i][k] for i, k, *_ in node["inputs"]]
        values.append(
            _invoke(
                _handle(node["op"]), arrays, list(given), list(given.values()), None, is_np, True
            )
        )
    outputs = [values[i][k] for i, k, *_ in graph["heads"]]
    return outputs[0] if len(outputs) == 1 else outputs


def _handle(name: str) -> int:
    found = ctypes.c_void_p()
    mx.base.check_call(_LIB.NNGetOpHandle(name.encode(), ctypes.byref(found)))
    return found.value or 0


# -------------------------------------------------------------------- what leaves the graph


def _backward(*arguments: Any) -> Any:
    if current() is not None:
        refuse_if_recording("a backward pass of MXNet's own")
    return _hooks.originals["backward"](*arguments)


def _record_function(count: Any, handles: Any, *rest: Any) -> Any:
    """``mx.autograd.Function`` drops the gradients after an input that needs none."""
    found = current()
    if found is not None:
        reached = [reaches(ctypes.c_void_p(handles[i]), found.leaves) for i in range(count.value)]
        if any(later > first for first, later in itertools.pairwise(reached)):
            raise UnsupportedError(
                "a derivative through an mx.autograd.Function was asked for, but MXNet drops the "
                "gradient of an argument that comes after a constant one; type: ug.custom_vjp, "
                "or put the constant arguments last"
            )
    return _hooks.originals["function"](count, handles, *rest)


def _asnumpy(self: Any) -> Any:
    found = current()
    if found is not None and found.reaches(self) and not _only_shown():
        raise UnsupportedError(
            "an array that is being differentiated was turned into a NumPy array or a number, "
            "and its derivative would be lost; type: x.detach().asnumpy() if a constant is meant, "
            "or mx.np.stack([...]) in place of mx.np.array([...]) of arrays"
        )
    return _hooks.originals["asnumpy"](self)


def _only_shown() -> bool:
    """Whether the values are only printed, or decide a branch or a count."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mxnet."):
        if frame.f_code.co_name in _SHOWN_OR_COUNTED:
            return True
        frame = frame.f_back
    return False


# -------------------------------------------------------------------- putting in and back


class _Hooks:
    """The replaced places, put in by the first recording and put back by the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.places: dict[str, tuple[Any, str, Any]] = {
            "invoke": (sys.modules["mxnet.ndarray.register"], "_imperative_invoke", _invoke),
            "block": (mx.gluon.HybridBlock, "_call_cached_op", _call_block),
            "graph": (mx.nd._internal.CachedOp, "__call__", _call_graph),
            "backward": (_LIB, "MXAutogradBackwardEx", _backward),
            "function": (_LIB, "MXCustomFunctionRecord", _record_function),
            "asnumpy": (mx.nd.NDArray, "asnumpy", _asnumpy),
        }
        self.originals = {
            key: getattr(owner, name) for key, (owner, name, _) in self.places.items()
        }

    def acquire(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                for key, (owner, name, replacement) in self.places.items():
                    self.originals[key] = getattr(owner, name)
                    setattr(owner, name, replacement)

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                for key, (owner, name, _) in self.places.items():
                    setattr(owner, name, self.originals[key])


_hooks = _Hooks()
