"""Emitters of reading and writing at an index: in place, where an array is not read again.

Where the array is a buffer, so is its view at a basic index, which costs nothing at a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrad.engine.buffers import Name
from unigrad.engine.indexing import is_basic, taken
from unigrad.engine.program import Instruction, Variable, signature, variables

if TYPE_CHECKING:
    from unigrad.engine.emission import Emission

__all__ = ["added_at", "rolled", "scatter_at", "taken_at", "update_at"]


def _indexed(instruction: Instruction, position: int) -> Any:
    args, kwargs = instruction.args, instruction.kwargs
    return kwargs["index"] if "index" in kwargs else args[position]


def taken_at(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """``x.take`` for one array of indices along the first axis, which are known to be in range."""
    x, index = instruction.args[0], _indexed(instruction, 1)
    seen = e.seen[out]
    if type(index) is tuple and len(index) == 1:
        index = index[0]
    if type(index) is not np.ndarray or index.dtype != np.intp or not index.size:
        return None
    if type(x) is not Variable or not seen.contiguous or not e.seen[x].contiguous:
        return None
    if index.min() < 0 or index.max() >= e.seen[x].shape[0]:
        return None
    place = e.buffer(out) or e.fresh(out)
    if place is None:
        return None
    e.lines.append(f"{e.raw(x)}.take({e.bind(index)}, 0, {place}, 'clip')")
    return place


def _view_at(e: Emission, place: str, index: Any) -> str | None:
    """The name of ``place[index]``, if it is an array that is made with the buffer."""
    parts = index if type(index) is tuple else (index,)
    if type(place) is not Name or not is_basic(index) or any(True for _ in variables(index)):
        return None
    if not any(isinstance(i, slice) for i in parts):
        return None
    e.bind(index)
    return e.plan.view((place, taken, signature(index)), lambda x: x[index], (place,))


def _write_at(e: Emission, place: str, index: Any, value: str) -> None:
    """``place[index] = value``."""
    view = _view_at(e, place, index)
    where = f"{place}[{e.source(index)}]" if view is None else f"{view}[...]"
    e.lines.append(f"{where} = {value}")


def _value(e: Emission, v: Any, dtype: Any) -> str:
    """A value to be stored: Python's number will do where it is stored as NumPy's double."""
    if type(v) is Variable and v in e.floats and dtype == np.float64:
        return e.floats[v]
    return e.source(v)


def update_at(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    if len(instruction.args) < 2:
        return None
    x, v = instruction.args[:2]
    index = _indexed(instruction, 2)
    if type(x) is np.ndarray:
        source = e.bind(x)
    elif type(x) is Variable and e.seen[x].array:
        source = e.raw(x)
    else:
        return None
    value = _value(e, v, e.seen[out].dtype)
    shared = type(x) is Variable and any(e.root(y) is e.root(x) for y in variables((v, index)))
    place = e.buffer(out, () if shared else (x,))
    if place is None:
        place = e.local(out)
        e.lines.append(f"{place} = {source}.copy('K')")
    elif place != source:
        e.lines.append(f"{place}[...] = {source}")
    _write_at(e, place, index, value)
    return place


def added_at(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    x, v = instruction.args[:2]
    index = _indexed(instruction, 2)
    if type(x) is not Variable or not e.seen[x].array:
        return None
    source, value = e.raw(x), e.source(v)
    shared = any(e.root(y) is e.root(x) for y in variables((v, index)))
    place = e.buffer(out, () if shared else (x,))
    if place is None:
        return None
    if place != source:
        e.lines.append(f"{place}[...] = {source}")
    view = _view_at(e, place, index)
    seen = e.look(v)
    if view is not None and seen is not None and seen.dtype == e.seen[out].dtype:
        e.lines.append(f"{e.bind(np.add)}({view}, {value}, {view})")
        return place
    e.lines.append(f"{e.bind(np.add.at)}({place}, {e.source(index)}, {value})")
    return place


def scatter_at(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    g, index = instruction.args[0], _indexed(instruction, 1)
    seen = e.seen[out]
    if type(g) is not Variable or any(True for _ in variables(index)):
        return None
    value = _value(e, g, seen.dtype)
    single = index[0] if type(index) is tuple and len(index) == 1 else index
    if is_basic(index) or (type(index) is np.ndarray and index.dtype == np.bool_):
        place = e.buffer(out)
        if place is not None:
            e.lines.append(f"{place}.fill({e.bind(np.zeros((), seen.dtype)[()])})")
        elif seen.contiguous:
            place = e.local(out)
            e.lines.append(f"{place} = {e.bind(np.zeros)}({seen.shape!r}, {e.bind(seen.dtype)})")
        else:
            return None
        _write_at(e, place, index, value)
        return place
    if (
        type(single) is np.ndarray
        and single.dtype == np.intp
        and single.ndim == len(seen.shape) == 1
        and e.seen[g].shape == single.shape
        and e.seen[g].dtype == seen.dtype == np.float64
        and single.size
        and single.min() >= 0
    ):
        name = e.local(out)
        words = f"{e.bind(single)}, {value}, {seen.shape[0]}"
        e.lines.append(f"{name} = {e.bind(np.bincount)}({words})")
        return name
    return None


def rolled(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """``numpy.roll`` along one axis: two copies."""
    options = dict(zip(("a", "shift", "axis"), instruction.args, strict=False))
    options.update(instruction.kwargs)
    x, shift, axis = options.get("a"), options.get("shift"), options.get("axis")
    if type(x) is not Variable or type(shift) is not int or type(axis) is not int:
        return None
    if not e.seen[x].array or e.seen[x].root is None or not e.seen[out].shape:
        return None
    place = e.buffer(out) or e.fresh(out)
    if place is None:
        return None
    axis %= len(x.shape)
    shift %= max(x.shape[axis], 1)
    before = (slice(None),) * axis
    for into, source in (
        (slice(shift, None), slice(None, x.shape[axis] - shift)),
        (slice(None, shift), slice(x.shape[axis] - shift, None)),
    ):
        index = (*before, source)
        name = e.raw(x)
        value = _view_at(e, name, index) or f"{name}[{e.bind(index)}]"
        _write_at(e, place, (*before, into), value)
    return place
