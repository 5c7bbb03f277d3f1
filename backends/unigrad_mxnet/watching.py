"""What unigrad watches while MXNet records for it, so that nothing wrong passes in silence.

MXNet loses derivatives without a word: operators with a wrong or missing gradient, work in other
threads, values that leave (`leaving`) or are written (`memory`). All of them go through few Python
places; those are replaced while some thread records for unigrad, and are put back.
"""

from __future__ import annotations

import ast
import ctypes
import itertools
import json
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unigrad.errors import UnsupportedError
from unigrad_mxnet import dropping, leaving, memory, numpy_calls
from unigrad_mxnet.framework import mx
from unigrad_mxnet.graph import Run, translated, translated_symbol
from unigrad_mxnet.hooks import original, replaced
from unigrad_mxnet.operators import OPERATORS
from unigrad_mxnet.recording import (
    MODES,
    Recording,
    active,
    current,
    moves_anywhere,
    operator_name,
    reaches,
    refuse_other_threads,
)
from unigrad_mxnet.second_order import call_function
from unigrad_mxnet.wrong_gradients import (
    CONSTANT,
    RUNNING_STATISTICS,
    TRAINING_FORWARD,
    UNRECORDED,
    WRONG,
)

__all__ = ["OPERATORS", "install", "registered"]

_LIB: Any = mx.base._LIB

# -------------------------------------------------------------------- operators


def _attributes(keys: Sequence[str], values: Sequence[Any]) -> dict[str, str]:
    return dict(zip(keys, map(str, values), strict=True))


def _refuse_wrong(
    found: Recording, name: str, arrays: Sequence[Any], keys: Sequence[str], values: Sequence[Any]
) -> None:
    attributes = _attributes(keys, values)
    for case in WRONG[name]:
        if not case.has_scalar(attributes) or not case.when(attributes, arrays):
            continue
        if case.unless is not None and found.reaches(arrays[case.unless]):
            continue
        places = range(len(arrays)) if case.inputs is None else case.inputs
        if any(found.reaches(arrays[i]) for i in places if i < len(arrays)):
            if case.at is not None and not case.at(arrays):
                continue
            if name in OPERATORS:
                found.exact = True
                return
            raise UnsupportedError(
                f"a derivative through MXNet's operator {name!r} was asked for, but "
                f"{case.reason}; type: {case.instead}"
            )


def _copied(arrays: Sequence[Any], count: int) -> list[Any]:
    """The inputs with copies in place of the running statistics, which backward writes (S16)."""
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        return [*arrays[:-count], *[memory.copied(a) for a in arrays[-count:]]]


def _invoke(
    handle: int,
    arrays: Sequence[Any],
    keys: Sequence[str],
    values: Sequence[Any],
    out: Any,
    is_np_op: bool,
    output_is_list: bool,
) -> Any:
    run = original("invoke") if out is None else _written
    handles = [x.handle.value for x in arrays]
    refuse_other_threads(handles)
    found = current()
    written = () if out is None else _listed(out)
    for y in written:
        memory.before_writing(y.handle, found)
    name = operator_name(handle)
    if name in memory.UPDATES:
        memory.before_update(name, arrays, found)
    if found is None:
        return run(handle, arrays, keys, values, out, is_np_op, output_is_list)
    if name not in CONSTANT:
        memory.before_reading(handles)
    if out is None and dropping.drops(name, attributes := _attributes(keys, values), arrays):

        def call(name: str, xs: Sequence[Any], **given: Any) -> Any:
            keys, values = list(given), list(given.values())
            return _invoke(_handle(name), xs, keys, values, None, is_np_op, True)

        parts = dropping.layer_by_layer(call, attributes, arrays)
        return parts if output_is_list or len(parts) > 1 else parts[0]
    if name == "sort" and "axis" not in keys:  # MXNet fails where it records that
        keys, values = [*keys, "axis"], [*values, -1]
    if name in WRONG and not found.exact:
        _refuse_wrong(found, name, arrays, keys, values)
    training = mx.autograd.is_training()
    if name in MODES or name not in OPERATORS:
        found.runs_in(training)
    place = "" if name in OPERATORS else _place()

    def translation() -> Run:
        return translated(name, keys, values, training, place)

    if name == "Dropout" and out is None and _is_random(found, arrays, keys, values):
        drawn = _with_mask(run, handle, arrays[0], keys, values, is_np_op)
        found.note(name, translation, (arrays[0], drawn[1].detach()), drawn[:1])
        return drawn[:1] if output_is_list else drawn[0]
    given = arrays
    if name in RUNNING_STATISTICS:
        given = _copied(arrays, RUNNING_STATISTICS[name])
    if name == "Pooling" and found.notes.is_view(arrays[0]):  # of a view its gradient is wrong
        given = [memory.copied(arrays[0])]
    if written:
        arrays = _kept(written, arrays)
    if name in TRAINING_FORWARD:
        with mx.autograd.train_mode():
            results = run(handle, given, keys, values, out, is_np_op, output_is_list)
    elif name in UNRECORDED and UNRECORDED[name](_attributes(keys, values), arrays):
        with mx.autograd.pause(train_mode=False):
            results = run(handle, given, keys, values, out, is_np_op, output_is_list)
    else:
        results = run(handle, given, keys, values, out, is_np_op, output_is_list)
    moving = bool(written) and any(moves_anywhere(x) for x in arrays)
    noted = name not in CONSTANT and found.note(name, translation, arrays, _listed(results))
    if written:
        _after_writing(written, found if noted else None, noted and moving)
    return results


def _written(*arguments: Any) -> Any:
    """A call that writes; MXNet records only those into arrays that it knows nothing of."""
    try:
        return original("invoke")(*arguments)
    except mx.MXNetError as error:
        text = str(error)
        if current() is None or not ("Inplace operations" in text or "Assigning to" in text):
            raise
        raise UnsupportedError(
            f"an array was written in place{_place()} in a function that is being differentiated "
            f"(y[...] = ..., y += ... or out=), which MXNet cannot record; type: y = y + ... in "
            f"place of y += ..., and where, concat or stack of the parts in place of writing them"
        ) from error


def _place() -> str:
    """The line of the user's that calls an operator."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("mxnet", "unigrad", "unigrad_mxnet"):
            return f" (line {frame.f_lineno} of {frame.f_code.co_filename})"
        frame = frame.f_back
    return ""


def _listed(results: Any) -> Sequence[Any]:
    return (results,) if isinstance(results, mx.nd.NDArray) else results


def _kept(written: Sequence[Any], arrays: Sequence[Any]) -> Sequence[Any]:
    """The inputs, with copies of those constants that are about to be written."""
    handles = {y.handle.value for y in written}
    if not any(a.handle.value in handles for a in arrays):
        return arrays
    return [
        _copied([a], 1)[0] if a.handle.value in handles and not moves_anywhere(a) else a
        for a in arrays
    ]


def _after_writing(written: Sequence[Any], noted: Recording | None, moving: bool) -> None:
    for record in active.stack:
        for y in written:
            if moving:
                record.notes.wrote(y)
            if record is not noted:
                record.notes.freed(y.handle.value)


def _is_random(
    found: Recording, arrays: Sequence[Any], keys: Sequence[str], values: Sequence[Any]
) -> bool:
    attributes = _attributes(keys, values)
    drawn = mx.autograd.is_training() or attributes.get("mode") == "always"
    return drawn and float(attributes.get("p", "0.5")) > 0 and arrays[0].size > 0


def _with_mask(
    run: Callable[..., Any],
    handle: int,
    x: Any,
    keys: Sequence[str],
    values: Sequence[Any],
    is_np: bool,
) -> list[Any]:
    """The outputs of Dropout, the hidden one with them: the mask that was drawn."""
    axes = ast.literal_eval(_attributes(keys, values).get("axes", "()"))
    spread = (axes,) if isinstance(axes, int) else tuple(axes or ())
    shape = tuple(1 if k in spread else n for k, n in enumerate(x.shape))
    make = mx.np.empty if is_np else mx.nd.empty
    kind: Any = {"dtype": x.dtype, "ctx": x.ctx}
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        out = [make(x.shape, **kind), make(shape, **kind)]
    run(handle, [x], keys, values, out, is_np, True)
    return out


def _tensordot(x: Any, y: Any, axes: Any) -> Any:
    """The one operator with a derivative that goes another way into MXNet than all others do."""
    refuse_other_threads([x.handle.value, y.handle.value])
    found = current()
    if found is not None:
        memory.before_reading([x.handle.value, y.handle.value])
    result = original("tensordot")(x, y, axes)
    if found is not None:
        if isinstance(axes, int):
            name, given = "_npi_tensordot_int_axes", {"axes": axes}
        else:
            name = "_npi_tensordot"
            given = dict(zip(("a_axes_summed", "b_axes_summed"), axes, strict=True))
        keys, values = list(given), list(given.values())
        found.note(name, lambda: translated(name, keys, values, False), (x, y), (result,))
    return result


# -------------------------------------------------------------------- compiled blocks


def _call_block(self: Any, *args: Any) -> Any:
    active.blocks.append(self)
    try:
        return original("block")(self, *args)
    finally:
        active.blocks.pop()


def _call_graph(self: Any, *args: Any, **kwargs: Any) -> Any:
    """A hybridized block's graph: as it is if all of it is right, operator by operator if not."""
    run = original("graph")
    refuse_other_threads([x.handle.value for x in args if isinstance(x, mx.nd.NDArray)])
    found = current()
    if found is None:
        return run(self, *args, **kwargs)
    memory.before_reading([x.handle.value for x in args if isinstance(x, mx.nd.NDArray)])
    block = active.blocks[-1] if active.blocks else None
    if block is None or block._cached_op is not self:
        raise UnsupportedError(
            "a derivative through an mx.nd.CachedOp was asked for, but its operators cannot be "
            "looked at from outside; type: a gluon.SymbolBlock of its symbol"
        )
    symbol = block._cached_graph[1]
    graph = _settled(symbol, _text(block, symbol), args)
    names, is_np, training = symbol.list_inputs(), self.is_np_sym, mx.autograd.is_training()
    if any(node["op"] in MODES for node in graph["nodes"]):
        found.runs_in(training)
    if not found.exact and _is_right(graph, dict(zip(names, args, strict=True)), found):
        results = run(self, *args, **kwargs)
        found.note(
            f"hybridized {type(block).__name__}",
            lambda: translated_symbol(graph, names, training, is_np),
            args,
            _listed(results),
        )
        return results
    results = _replayed(graph, dict(zip(names, args, strict=True)), is_np)
    return results[0] if len(results) == 1 else results


_OPENED = RUNNING_STATISTICS.keys() | TRAINING_FORWARD | {"Dropout"}
_WATCHED = WRONG.keys() | _OPENED


def _is_right(graph: dict[str, Any], inputs: dict[str, Any], found: Recording) -> bool:
    """Whether MXNet's own derivative of all of a hybridized block is right."""

    def moves(node: dict[str, Any], place: int | None, unknown: bool) -> bool:
        """Whether an input is differentiated; ``unknown`` if it is not one of the block's own."""
        if place is None or place >= len(node["inputs"]):
            return False
        given = inputs.get(graph["nodes"][node["inputs"][place][0]]["name"])
        return unknown if given is None else found.reaches(given)

    for node in graph["nodes"]:
        name = node["op"]
        if any(inner["op"] in _WATCHED for g in node.get("subgraphs", ()) for inner in _nodes(g)):
            return False
        if name in _OPENED:
            return False
        for case in WRONG.get(name, ()):
            if not case.has_scalar(node.get("attrs", {})) or moves(node, case.unless, False):
                continue
            places = range(len(node["inputs"])) if case.inputs is None else case.inputs
            if any(moves(node, place, True) for place in places):
                return False
    return True


_texts: weakref.WeakKeyDictionary[Any, tuple[Any, str]] = weakref.WeakKeyDictionary()


def _text(block: Any, symbol: Any) -> str:
    """The graph of a block's symbol, asked for once: MXNet never frees what it gives."""
    known = _texts.get(block)
    if known is None or known[0] is not symbol:
        known = _texts[block] = symbol, symbol.tojson()
    return known[1]


def _settled(symbol: Any, text: str, args: Sequence[Any]) -> dict[str, Any]:
    """The graph of a symbol, with the shapes that MXNet infers in place of unknown lengths."""
    graph: dict[str, Any] = json.loads(text)
    open_ones = [
        node
        for node in graph["nodes"]
        if not node["inputs"]
        and 0 in ast.literal_eval(node.get("attrs", {}).get("shape", "()"))
        and node["op"] != "null"
    ]
    if open_ones:
        every = symbol.get_internals()
        shapes = {n: x.shape for n, x in zip(symbol.list_inputs(), args, strict=True)}
        found = dict(zip(every.list_outputs(), every.infer_shape(**shapes)[1], strict=True))
        for node in open_ones:
            node["attrs"]["shape"] = str(found[f"{node['name']}_output"])
    return graph


def _nodes(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in graph["nodes"]:
        yield node
        for inner in node.get("subgraphs", ()):
            yield from _nodes(inner)


def _replayed(graph: dict[str, Any], inputs: dict[str, Any], is_np: bool) -> list[Any]:
    values: list[Sequence[Any]] = []
    for node in graph["nodes"]:
        if node["op"] == "null":
            values.append([inputs[node["name"]]])
            continue
        given = {k: v for k, v in node.get("attrs", {}).items() if not k.startswith("__")}
        arrays = [values[i][k] for i, k, *_ in node["inputs"]]
        if "subgraphs" in node:
            values.append(_controlled(node["op"], given, node["subgraphs"], arrays, is_np))
            continue
        values.append(
            _invoke(
                _handle(node["op"]), arrays, list(given), list(given.values()), None, is_np, True
            )
        )
    return [values[i][k] for i, k, *_ in graph["heads"]]


def _controlled(
    name: str, given: dict[str, str], graphs: list[dict[str, Any]], arrays: list[Any], is_np: bool
) -> list[Any]:
    """The results of a loop or a branch, run step by step."""

    def run(graph: dict[str, Any], xs: Sequence[Any]) -> list[Any]:
        names = [graph["nodes"][i]["name"] for i in graph["arg_nodes"]]
        return _replayed(graph, dict(zip(names, xs, strict=True)), is_np)

    def places(key: str) -> list[int]:
        return list(ast.literal_eval(given[key]))

    if name == "_cond":
        chosen = run(graphs[0], [arrays[k] for k in places("cond_input_locs")])[0]
        branch = "then" if chosen.detach().asnumpy().item() else "else"
        xs = [arrays[k] for k in places(f"{branch}_input_locs")]
        return run(graphs[1 if branch == "then" else 2], xs)
    if name != "_foreach":
        raise UnsupportedError(
            f"a derivative through MXNet's operator {name!r} in a hybridized block was asked for, "
            f"and it cannot be looked at; type: block.hybridize(False)"
        )
    data, state = places("in_data_locs"), places("in_state_locs")
    order = [*data, *state, *places("remain_locs")]
    count = int(given["num_out_data"])
    items, states, rest = (
        arrays[: len(data)],
        arrays[len(data) : len(data) + len(state)],
        arrays[len(data) + len(state) :],
    )
    steps = []
    for t in range(items[0].shape[0]):
        at = dict(zip(order, [*[x[t] for x in items], *states, *rest], strict=True))
        results = run(graphs[0], [at[k] for k in sorted(at)])
        steps.append(results[:count])
        states = results[count:]
    stacked = [mx.np.stack(ys) if is_np else mx.nd.stack(*ys) for ys in zip(*steps, strict=True)]
    return [*stacked, *states]


def _handle(name: str) -> int:
    found = ctypes.c_void_p()
    mx.base.check_call(_LIB.NNGetOpHandle(name.encode(), ctypes.byref(found)))
    return found.value or 0


def registered(name: str) -> str | None:
    """The name under which calls of an operator are seen, whichever of its names is given."""
    found = ctypes.c_void_p()
    if _LIB.NNGetOpHandle(name.encode(), ctypes.byref(found)) != 0:
        return None
    return operator_name(found.value or 0)


# -------------------------------------------------------------------- custom functions


def _record_function(count: Any, handles: Any, *rest: Any) -> Any:
    """``mx.autograd.Function`` drops the gradients after an input that needs none."""
    found = current()
    if found is not None:
        reached = [reaches(ctypes.c_void_p(handles[i]), found.leaves) for i in range(count.value)]
        if any(later > first for first, later in itertools.pairwise(reached)):
            found.exact = True
    return original("function")(count, handles, *rest)


# -------------------------------------------------------------------- the places


def install() -> None:
    """Say what is replaced while something is recorded."""
    replaced("invoke", sys.modules["mxnet.ndarray.register"], "_imperative_invoke", _invoke)
    api = sys.modules["mxnet.ndarray.numpy._api_internal"]
    replaced("tensordot", api, "tensordot", _tensordot)
    replaced("block", mx.gluon.HybridBlock, "_call_cached_op", _call_block)
    replaced("graph", mx.nd._internal.CachedOp, "__call__", _call_graph)
    replaced("function", _LIB, "MXCustomFunctionRecord", _record_function)
    replaced("call", mx.autograd.Function, "__call__", call_function)
    memory.install()
    leaving.install()
    numpy_calls.install()
