"""What one instruction becomes in the source of a program: a statement that writes into a buffer.

An emitter returns the name of the result, or ``None`` for "call it as it was recorded". Each
statement gives, bit for bit, what the recorded call gives; what is not certain is not emitted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrad.engine import scalars
from unigrad.engine.buffers import Seen
from unigrad.engine.indexing import add_at, scatter, taken, update
from unigrad.engine.places import added_at, rolled, scatter_at, taken_at, update_at
from unigrad.engine.program import OPERATORS, Instruction, Variable, signature, variables

if TYPE_CHECKING:
    from unigrad.engine.emission import Emission

__all__ = ["emitted"]

_REDUCTIONS = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.max: np.maximum,
    np.amax: np.maximum,
    np.min: np.minimum,
    np.amin: np.minimum,
}
_VIEWS = {taken} | {
    vars(np)[name]
    for name in [
        *("transpose", "permute_dims", "matrix_transpose", "swapaxes", "moveaxis", "rollaxis"),
        *("reshape", "ravel", "squeeze", "expand_dims", "atleast_1d", "atleast_2d", "atleast_3d"),
        *("broadcast_to", "real", "imag", "diagonal", "flip", "flipud", "fliplr", "rot90"),
    ]
    if name in vars(np)
}
"""What makes a view, or not, by how its argument lies, whatever the values are."""

_OF_NUMBER = {np.broadcast_to, np.reshape, np.expand_dims}
_LIKE = {np.zeros_like, np.ones_like, np.full_like}
_UNSET = vars(np)["_NoValue"]
_RATIONAL = {np.add, np.subtract, np.multiply, np.divide}
_COMPARISONS = {np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal}
_KEYWORD_OUT = {np.maximum, np.minimum}  # a third positional argument is deprecated there
_SPREAD_BELOW = 4096
"""Below so many bytes a copy and a loop over equal shapes is faster than a broadcasting loop."""


def emitted(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    seen, fn, args = e.seen[out], instruction.fn, instruction.args
    if not seen.array:
        return _to_number(e, instruction, out)
    if fn in _LIKE and not any(True for _ in variables((args[1:], instruction.kwargs))):
        return _like(e, instruction, out)
    if fn in _OF_NUMBER:
        place = _number_seen(e, instruction, out)
        if place is not None:
            return place
    if seen.root not in (None, out) and fn in _VIEWS and e.static(args[0]):
        return _view(e, instruction, out)
    if not seen.new:
        return None
    if fn in _REDUCTIONS or getattr(fn, "__name__", "") == "reduce":
        return _reduction(e, instruction, out)
    special = _SPECIAL.get(fn)
    if special is not None:
        return special(e, instruction, out)
    if fn is operator.pow:
        return _power(e, args, out)
    target = OPERATORS.get(fn, fn)
    if target is np.matmul and not instruction.kwargs:
        return _matmul(e, args, out)
    if fn is np.dot and len(args) == 2 and not instruction.kwargs:
        a, b = e.look(args[0]), e.look(args[1])
        both = a is not None and b is not None and a.array and b.array
        return _matmul(e, args, out, exact=True) if both else None
    if isinstance(target, np.ufunc) and target.signature is None and not instruction.kwargs:
        return _ufunc(e, target, args, out)
    return None


def _to_number(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    fn, args, kwargs = instruction.fn, instruction.args, instruction.kwargs
    if fn in _REDUCTIONS or getattr(fn, "__name__", "") == "reduce":
        return _reduction(e, instruction, out)
    if fn is operator.matmul or fn is np.matmul:
        x, y = args
        if not kwargs and _as_dot(e, x, y):
            name = e.local(out)
            e.lines.append(f"{name} = {e.source(x)}.dot({e.source(y)})")
            return name
    return None


def _like(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    seen = e.seen[out]
    if not seen.new or seen.dtype.hasobject or out in e.escaping:
        return None
    like: Any = np.ndarray(
        seen.shape, seen.dtype, np.zeros(max(seen.nbytes, 1), np.uint8), 0, seen.strides
    )
    constant = instruction.fn(like, *instruction.args[1:], **instruction.kwargs)
    if constant.strides != like.strides and constant.size:
        return None
    e.constants[out] = constant
    return e.bind(constant)


def _view(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """A view of a buffer is made with the buffer."""
    fn, args, kwargs = instruction.fn, instruction.args, instruction.kwargs
    if any(True for _ in variables((args[1:], kwargs))):
        return None
    base = e.names[args[0]]
    key = base, fn, signature(args[1:]), signature(kwargs)
    e.bind(args)  # keeps alive what the key names by its id
    return e.plan.view(key, lambda x: fn(x, *args[1:], **kwargs), (base,))


def _number_seen(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """A number of some shape: it goes into a buffer, of which the answer is a view."""
    x, *rest = instruction.args
    if instruction.kwargs or out in e.escaping or any(True for _ in variables(rest)):
        return None
    if type(x) is not Variable or e.seen[x].array or e.seen[x].dtype is None:
        return None
    home = e.boxed(x)
    e.seen[out].new, e.seen[out].root = False, None
    key = home, instruction.fn, signature(rest)
    e.bind(rest)
    return e.plan.view(key, instruction.fn, (home, *rest))


def _reduction(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    fn, args = instruction.fn, instruction.args
    options = dict(instruction.kwargs)
    target = _REDUCTIONS.get(fn)
    if target is None:
        target = getattr(fn, "__self__", None)
        options.setdefault("axis", 0)
    if len(args) == 2:
        options["axis"] = args[1]
    # Trap: `numpy.dtype(float) == None` is true.
    unset = [k for k, v in options.items() if v is _UNSET or (v is None and k != "axis")]
    for k in unset:
        del options[k]
    axis, keepdims = options.pop("axis", None), options.pop("keepdims", False)
    dtype = options.pop("dtype", None)
    if len(args) > 2 or options or not isinstance(target, np.ufunc):
        return None
    if type(keepdims) is not bool or any(True for _ in variables(axis)):
        return None
    x = args[0]
    if type(x) is not Variable or not e.seen[x].array:
        return None
    if axis is None and len(e.seen[x].shape) == 1:
        axis = 0
    into = e.seen[out].array and not _reversed(e, [x])
    place = e.buffer(out) if into else None
    words = [e.raw(x), e.source(axis)]
    if place is not None or keepdims or dtype is not None:
        words += [e.source(dtype), str(place), str(keepdims)]
    name = place or e.local(out)
    prefix = "" if place else f"{name} = "
    e.lines.append(f"{prefix}{e.bind(target.reduce)}({', '.join(words)})")
    return name


def _as_dot(e: Emission, x: Any, y: Any) -> bool:
    """Whether ``x.dot(y)`` makes the same BLAS call as ``x @ y``, in a third of the time.

    Trap: where strides keep BLAS away, ``dot`` copies and ``@`` runs a loop of its own; and for
    one term each, ``dot`` scales, and keeps the -0.0 that ``@`` adds to 0.0.
    """
    a, b = e.look(x), e.look(y)
    if a is None or b is None:
        return False
    if a.dtype != b.dtype or not a.array or not b.array or not a.dense or not b.dense:
        return False
    if not 1 <= len(a.shape) <= 2 or not 1 <= len(b.shape) <= 2:
        return False
    if 0 in a.shape or 0 in b.shape or a.shape[-1] == 1:
        return False
    several = len(a.shape) == len(b.shape) == 2 and min(*a.shape, *b.shape) > 1
    return a.dtype.char in "fd" or (a.dtype.char in "FD" and several)


def _is_outer(e: Emission, x: Any, y: Any) -> bool:
    """Whether ``x @ y`` is a column times a row."""
    a, b = e.look(x), e.look(y)
    if a is None or b is None or a.dtype != b.dtype or a.dtype.char not in "fd":
        return False
    if not a.dense or not b.dense or 0 in a.shape or 0 in b.shape:
        return False
    return len(a.shape) == len(b.shape) == 2 and a.shape[1] == 1


def _matmul(e: Emission, args: Any, out: Variable, exact: bool = False) -> str | None:
    x, y = args
    if not exact and e.seen[out].contiguous and _is_outer(e, x, y):
        place = e.buffer(out)
        if place is not None:  # `@` adds its one term to 0.0, which tells for -0.0
            zero = _constant(e, np.zeros((), e.seen[out].dtype), e.seen[out])
            e.lines.append(f"{e.source(x)}.dot({e.source(y)}, {place})")
            e.lines.append(f"{e.bind(np.add)}({place}, {zero}, {place})")
            return place
    if not exact and not _as_dot(e, x, y):
        return _into(e, np.matmul, args, out) if e.seen[out].contiguous else None
    place = e.buffer(out) if e.seen[out].contiguous else None
    if place is None:
        name = e.local(out)
        e.lines.append(f"{name} = {e.source(x)}.dot({e.source(y)})")
        return name
    e.lines.append(f"{e.source(x)}.dot({e.source(y)}, {place})")
    return place


def _power(e: Emission, args: Any, out: Variable) -> str | None:
    """``x ** 2`` and the like, as the array's operator computes them."""
    x, n = args
    if type(n) not in (int, float) or e.seen[out].dtype.kind != "f":
        if type(n) is Variable and e.seen[n].array and len(e.seen[n].shape) > 0:
            return _ufunc(e, np.power, args, out)
        return None
    if type(x) is not Variable or x.dtype != e.seen[out].dtype:
        return None
    short: Any = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}.get(n)
    if short is not None:
        return _ufunc(e, short, (x,), out)
    return None if n in (0, 1) else _ufunc(e, np.power, args, out)


def _into(e: Emission, fn: Any, args: Any, out: Variable, reuse: Any = ()) -> str | None:
    words = [e.source(a) for a in args]
    place = e.buffer(out, reuse)
    if place is None:
        return None
    e.lines.append(f"{e.bind(fn)}({', '.join(words)}, out={place})")
    return place


def _ufunc(e: Emission, fn: np.ufunc, args: Any, out: Variable) -> str | None:
    """An elementwise function, in place where an argument is not read again."""
    seen = e.seen[out]
    if fn.nout != 1 or not _casts_plainly(e, args, seen) or _reversed(e, args):
        return None
    words = [_operand(e, fn, args, i, seen) for i in range(len(args))]
    # Trap: the last bit of a complex product is another one in place.
    place = e.buffer(out, () if seen.dtype.kind == "c" else args)
    if place is None:
        return None
    words = _same_shape(e, fn, args, words, seen, place)
    keyword = "out=" if fn in _KEYWORD_OUT else ""
    e.lines.append(f"{e.bind(fn)}({', '.join(words)}, {keyword}{place})")
    return place


def _reversed(e: Emission, args: Any) -> bool:
    """Whether an axis of an operand runs backwards.

    Trap: NumPy turns such axes round only where it is given `out`; loops over turned axes add in
    another order, or are other loops, whose last bit differs.
    """
    return any(min(seen.strides, default=0) < 0 for seen in map(e.look, args) if seen is not None)


def _casts_plainly(e: Emission, args: Any, out: Seen) -> bool:
    """Whether dtypes alone, not the values of scalars, say what the answer's dtype is."""
    for a in args:
        if type(a) is Variable and len(e.seen[a].shape) == 0:
            if e.seen[a].dtype != out.dtype:
                return False
        elif type(a) is not Variable and not isinstance(a, int | float | complex | np.ndarray):
            return False
    return True


def _operand(e: Emission, fn: np.ufunc, args: Any, i: int, out: Seen) -> str:
    """An operand; scalars as arrays, which NumPy need not convert at every run."""
    a = args[i]
    if type(a) is Variable:
        seen = e.seen[a]
        if not seen.array and seen.dtype == out.dtype == np.float64:
            return e.boxed(a)
        return e.raw(a)
    other = e.look(args[1 - i]) if len(args) == 2 else None
    if other is None or other.dtype != out.dtype or not other.array or other.shape == ():
        return e.source(a)
    if out.dtype.char not in "fd" or not scalars.is_float(a, e.seen):
        return e.source(a)
    if fn in _RATIONAL or (fn in _KEYWORD_OUT and a != 0):  # max(0.0, -0.0) is either of them
        with np.errstate(all="ignore"):
            return _constant(e, np.asarray(a).astype(out.dtype), out)
    return e.source(a)


def _constant(e: Emission, constant: Any, out: Seen) -> str:
    spread = out.nbytes <= _SPREAD_BELOW and out.dense
    key = constant.tobytes(), constant.dtype.char, spread and (out.shape, out.strides)
    name = e.bound_names.get(key)
    if name is None:
        if spread:
            full: Any = np.ndarray(
                out.shape, out.dtype, np.zeros(max(out.nbytes, 1), np.uint8), 0, out.strides
            )
            full[...] = constant
            constant = full
        name = e.bound_names[key] = e.bind(constant)
    return name


def _same_shape(
    e: Emission, fn: np.ufunc, args: Any, words: list[str], out: Seen, place: str
) -> list[str]:
    """A small operand that would be broadcast is copied first: two fast loops for a slow one."""
    if len(args) != 2 or fn not in _RATIONAL | _COMPARISONS:
        return words
    for i in (0, 1):
        a, b = e.look(args[i]), e.look(args[1 - i])
        if a is None or b is None or a.dtype != b.dtype or a.shape in ((), out.shape):
            continue
        if b.dtype.char not in "fd" or b.nbytes > _SPREAD_BELOW:  # complex products are not exact
            continue
        if b.shape == out.shape and b.dense:
            if place in words or (b.dtype, b.strides) != (out.dtype, out.strides):
                place = e.scratch(b)
            e.lines.append(f"{place}[...] = {words[i]}")
            return [place, words[1]] if i == 0 else [words[0], place]
    return words


def _emit_where(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """``putmask`` over the other values: half the time of ``where`` for small arrays."""
    seen = e.seen[out]
    if len(instruction.args) != 3 or instruction.kwargs or not seen.contiguous:
        return None
    mask, x, y = instruction.args
    m = e.look(mask)
    if m is None or m.dtype != np.bool_ or m.shape != seen.shape or not m.contiguous:
        return None
    if not all(_holds(e, a, seen) for a in (x, y)):
        return None
    a = e.look(x)
    shared = type(x) is Variable and type(y) is Variable and e.root(x) is e.root(y)
    words = [e.source(mask), _filling(e, x, seen), _filling(e, y, seen)]
    place = e.buffer(out, () if shared else (y,))
    if place is None:
        return None
    if place != words[2]:
        e.lines.append(f"{place}[...] = {words[2]}")
    if a is None or a.shape != seen.shape or not a.contiguous:
        scratch = e.scratch(seen)
        e.lines.append(f"{scratch}[...] = {words[1]}")
        words[1] = scratch
    e.lines.append(f"{e.bind(np.putmask)}({place}, {words[0]}, {words[1]})")
    return place


def _holds(e: Emission, a: Any, out: Seen) -> bool:
    """Whether ``a`` can be stored in the answer without a change of value."""
    if scalars.is_float(a, e.seen):
        return bool(out.dtype == np.float64)
    seen = e.look(a)
    return seen is not None and seen.array and bool(seen.dtype == out.dtype)


def _filling(e: Emission, a: Any, out: Seen) -> str:
    if type(a) is Variable:
        return e.floats.get(a) or e.raw(a)
    return e.source(a)


def _emit_concatenate(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    args, kwargs = instruction.args, dict(instruction.kwargs)
    axis = args[1] if len(args) == 2 else kwargs.pop("axis", 0)
    if len(args) > 2 or kwargs or type(axis) is not int or type(args[0]) not in (tuple, list):
        return None
    return _into(e, np.concatenate, (args[0], axis), out)


def _emit_stack(e: Emission, instruction: Instruction, out: Variable) -> str | None:
    """Python's numbers are made one array at once."""
    args, kwargs = instruction.args, instruction.kwargs
    if len(args) != 1 or kwargs.get("axis", 0) not in (0, -1) or len(kwargs) > ("axis" in kwargs):
        return None
    if type(args[0]) not in (tuple, list) or not all(x in e.floats for x in variables(args[0])):
        return None
    if not all(type(x) is Variable for x in args[0]):
        return None
    name = e.local(out)
    words = ", ".join(e.floats[x] for x in args[0])
    e.lines.append(f"{name} = {e.bind(np.array)}([{words}])")
    return name


_SPECIAL: dict[Any, Callable[[Any, Instruction, Variable], str | None]] = {
    taken: taken_at,
    update: update_at,
    add_at: added_at,
    scatter: scatter_at,
    np.concatenate: _emit_concatenate,
    np.stack: _emit_stack,
    np.where: _emit_where,
    np.roll: rolled,
}
