"""Recording: a run of a function as a program of NumPy calls, to be replayed at other values.

A recorded array knows its values, so that shapes, dtypes and kinks of the recording run are
those of NumPy itself; what depends on a value, a branch or the shape of a selection, is refused,
with the user's line. Derivatives inside a recording work on recorded values, so that their rules
are recorded like the user's own calls.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from unigrad.engine.array import TracedArray, astype
from unigrad.engine.constants import copies_noted, settled
from unigrad.engine.core import FROZEN, NOTHING, Alias, Rule, Trace, gathered
from unigrad.engine.indexing import is_basic, kept_index, taken
from unigrad.engine.program import Instruction, Program, Variable
from unigrad.engine.reverse import OVER, called, owned_by
from unigrad.engine.table import lookup
from unigrad.errors import TracingError
from unigrad.surroundings import Surroundings, stamp

__all__ = ["RecordedArray", "Recorder", "Recording"]

_OWN_FOLDERS = (str(Path(__file__).resolve().parents[1]), str(Path(np.__file__).parent))


def _named(names: str) -> frozenset[Any]:
    return frozenset(fn for fn in map(lookup, names.split()) if fn is not None)


_STATIC = _named(
    "shape ndim size iscomplexobj isrealobj result_type can_cast min_scalar_type common_type "
    "may_share_memory shares_memory"
)
"""Functions whose answers depend on shapes and dtypes only."""

_BY_VALUE = _named(
    "nonzero argwhere flatnonzero unique unique_values unique_counts unique_inverse unique_all "
    "extract trim_zeros union1d intersect1d setdiff1d setxor1d bincount histogram_bin_edges "
    "array_equal array_equiv allclose real_if_close array_repr array_str array2string save "
    "savetxt savez"
)
"""Functions whose answers are no arrays of a known shape."""

_TAKEN_APART = _named(
    "copyto put place putmask fill_diagonal put_along_axis zeros_like ones_like empty_like "
    "full_like apply_along_axis apply_over_axes piecewise split array_split hsplit vsplit dsplit"
)
"""Functions that write, call the user back, or give several views: the engine has its own."""


class Recorder(Trace):
    """One recording in progress; the ``node`` of its boxes is their variable."""

    __slots__ = ("copies", "instructions", "watched")

    derives = False

    def __init__(self) -> None:
        super().__init__(RecordedArray)
        self.instructions: list[Instruction] = []
        self.watched: dict[int, Any] = {}
        self.copies: dict[int, np.ndarray[Any, Any]] = {}

    def close(self) -> None:
        super().close()
        self.instructions = OVER

    def variable(self, x: Any) -> Variable:
        return Variable(tuple(x.shape), x.dtype, isinstance(x, np.generic))

    def record(
        self,
        rule: Rule,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        links: Sequence[Any],
    ) -> Any:
        operands = [
            self._constant(a) if link is None else link for a, link in zip(args, links, strict=True)
        ]
        return self._noted(fn, operands, {k: self._constant(v) for k, v in kwargs.items()}, ans)

    def call(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] = NOTHING
    ) -> Any:
        """``fn(*args, **kwargs)``, as one instruction."""
        values = [_inside(a, _value) for a in args]
        ans = fn(*values, **{k: _inside(v, _value) for k, v in kwargs.items()})
        operands = [_inside(a, self._operand) for a in args]
        out = self._noted(
            fn, operands, {k: _inside(v, self._operand) for k, v in kwargs.items()}, ans
        )
        if type(ans) is np.ndarray:
            _alias([out], args)
        elif isinstance(ans, (tuple, list)):
            _alias(out, args)
        return out

    def _operand(self, x: Any) -> Any:
        if type(x) is RecordedArray:
            if x.home is not self:
                raise TracingError(
                    "a recorded value of another ug.jit met this one; pass it as an argument"
                )
            return x.value if x.node is None else x.node
        return self._constant(x)

    def _constant(self, x: Any) -> Any:
        """A constant of the program; an array that the user may change later is watched."""
        if isinstance(x, TracedArray):
            raise TracingError(
                "a function under ug.jit uses a traced value that is not among its arguments; "
                "pass it as an argument, or put ug.jit around the whole derivative"
            )
        if not isinstance(x, np.ndarray) or (not x.flags.writeable and settled(x)):
            return x
        if id(x) in self.copies:  # made by a derivative inside, of which `note` was told
            return x
        kept = self.watched.get(id(x))
        if kept is None or stamp(x) != kept[1]:
            kept = self.watched[id(x)] = x, stamp(x), x.copy()
        return kept[2]

    def note(self, copy: np.ndarray[Any, Any], original: np.ndarray[Any, Any]) -> None:
        """A derivative inside the recording keeps a copy of an array that the user has."""
        self.copies[id(copy)] = copy
        self.watched.setdefault(id(original), (original, stamp(copy), copy))

    def _noted(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], ans: Any
    ) -> Any:
        several = isinstance(ans, (tuple, list))
        answers = [
            np.asarray(y)[()] if type(y) in _NUMBERS else y for y in (ans if several else [ans])
        ]
        for y in answers:
            if not isinstance(y, (np.ndarray, np.generic)):
                _depends(
                    f"{getattr(fn, '__name__', fn)} of a recorded value gives {type(y).__name__}"
                )
        outputs = tuple(self.variable(y) for y in answers)
        self.instructions.append(Instruction(fn, tuple(args), kwargs, outputs, several, _line()))
        boxes = [RecordedArray(y, self, v) for y, v in zip(answers, outputs, strict=True)]
        if not several:
            return boxes[0]
        return type(ans)(*boxes) if type(ans) not in (tuple, list) else type(ans)(boxes)


def _alias(outs: Sequence[Any], args: Sequence[Any]) -> None:
    """Note which answers are views of which arguments."""
    sources: list[RecordedArray] = []
    _inside(list(args), lambda x: sources.append(x) if type(x) is RecordedArray else None)
    for out in outs:
        if type(out) is not RecordedArray or type(out.value) is not np.ndarray:
            continue
        for source in sources:
            if np.may_share_memory(out.value, source.value):
                out.alias = Alias(source)


_NUMBERS = (float, complex, int)


def _inside(x: Any, change: Callable[[Any], Any]) -> Any:
    """``change`` applied to every entry of nested tuples, lists, dicts and slices."""
    if type(x) in (tuple, list):
        return type(x)(_inside(y, change) for y in x)
    if type(x) is dict:
        return {k: _inside(v, change) for k, v in x.items()}
    if type(x) is slice:
        return slice(change(x.start), change(x.stop), change(x.step))
    return change(gathered(x))


def _value(x: Any) -> Any:
    if isinstance(x, RecordedArray):
        x.settle()
        return x.value
    return x


def _line() -> str:
    """The user's line that is running."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*_OWN_FOLDERS, "<__array_function__")):
            return f"{name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "an unknown line"


def _depends(what: str) -> NoReturn:
    raise TracingError(
        f"{what}, in {_line()}: under ug.jit a function is recorded once, and what depends on "
        f"a value would be the same ever after; use numpy.where(condition, a, b), leave that "
        f"part out of ug.jit, or pass the number as a Python number, which is part of the "
        f"signature"
    )


def _bitwise(op: Callable[..., Any]) -> tuple[Any, Any]:
    """An operator of masks, and its reflection."""

    def forward(self: Any, other: Any) -> Any:
        return self.home.call(op, (self, other))

    def reflected(self: Any, other: Any) -> Any:
        return self.home.call(op, (other, self))

    return forward, reflected


class RecordedArray(TracedArray):
    """An array of a recording: NumPy's calls on it become instructions."""

    __slots__ = ()
    __hash__ = None
    home: Recorder

    def __array_ufunc__(self, fn: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at" or kwargs.get("out") is not None or _derived(inputs):
            return super().__array_ufunc__(fn, method, *inputs, **kwargs)
        return _home(inputs, kwargs).call(
            fn if method == "__call__" else getattr(fn, method), inputs, kwargs
        )

    def __array_function__(
        self, fn: Any, types: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        if TracedArray in types or fn in _TAKEN_APART or kwargs.get("out") is not None:
            return super().__array_function__(fn, types, args, kwargs)
        if fn in _STATIC:
            values = [_inside(a, _value) for a in args]
            return fn(*values, **{k: _inside(v, _value) for k, v in kwargs.items()})
        if fn in _BY_VALUE or (fn is np.where and len(args) == 1 and not kwargs):
            _depends(
                f"numpy.{fn.__name__} of a recorded array has a result whose size or type "
                f"depends on values"
            )
        return _home(args, kwargs).call(fn, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        index = recorded_index(index)
        self.settle()
        out = self.home.call(taken, (self,), {"index": index})
        if out.alias is not None and is_basic(index):
            out.alias = Alias(self, index)
        return out

    def __repr__(self) -> str:
        return f"RecordedArray({self.value!r})"

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __bool__(self) -> bool:
        _depends("the truth of a recorded value was asked")

    __and__, __rand__ = _bitwise(operator.and_)
    __or__, __ror__ = _bitwise(operator.or_)
    __xor__, __rxor__ = _bitwise(operator.xor)

    def __invert__(self) -> Any:
        return self.home.call(operator.invert, (self,))

    def __contains__(self, item: Any) -> bool:
        return bool(np.any(self == item))

    def __float__(self) -> float:
        _depends("a recorded value was turned into a number")

    __int__ = __index__ = __complex__ = item = tolist = tobytes = __float__

    def __round__(self, ndigits: int = 0) -> Any:
        return np.round(self, ndigits)

    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
        out = np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order)
        return np.copy(out) if copy else out

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", copy: Any = True, **_: Any
    ) -> Any:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return self.home.call(astype, (self,), {"dtype": np.dtype(dtype), "casting": casting})

    def copy(self, order: Any = "C") -> Any:
        return np.copy(self)

    def clip(self, min: Any = None, max: Any = None, **options: Any) -> Any:
        return np.clip(self, min, max, **options)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        ordered: Any = np.sort(self, axis=axis)
        self.overwrite(ordered)

    def conj(self) -> Any:
        return np.conjugate(self) if self.dtype.kind == "c" else self

    conjugate = conj


def recorded_index(index: Any) -> Any:
    """The index, which may hold recorded integers, but no recorded mask."""
    if type(index) is tuple:
        return tuple(recorded_index(i) for i in index)
    if type(index) is RecordedArray:
        if index.dtype.kind == "b":
            _depends("a boolean mask selects a number of entries that depends on values")
        return index
    return kept_index(index)


def _derived(inputs: Sequence[Any]) -> bool:
    return any(isinstance(x, TracedArray) and x.home.derives for x in inputs)


def _home(args: Any, kwargs: Any) -> Recorder:
    """The recording that these arguments belong to."""
    found: list[Recorder] = []

    def look(x: Any) -> Any:
        if type(x) is RecordedArray:
            found.append(x.home)
        return x

    _inside(list(args), look)
    _inside(dict(kwargs), look)
    return max(found, key=lambda home: home.level)


_OURS = 3
"""References to an array that only the list of watched ones holds, while it is looked through."""


class Recording:
    """One function of arrays of given shapes and dtypes, recorded.

    Args:
        f: a function of flat arrays.
        arrays: where to record it.
        around: the user's function, whose surroundings must stay as they are; by default ``f``.
        draws: whether it may draw random numbers, which are constants then.

    Attributes:
        values: its results at the arrays of the recording.
        program: what it did.
    """

    def __init__(
        self,
        f: Callable[..., Sequence[Any]],
        arrays: Sequence[Any],
        *,
        around: Any = None,
        draws: bool = False,
    ) -> None:
        recorder = Recorder()
        self._surroundings = Surroundings(f if around is None else around)
        state = _random_state()
        inputs = [recorder.variable(x) for x in arrays]
        boxes = [RecordedArray(x, recorder, v, FROZEN) for x, v in zip(arrays, inputs, strict=True)]
        outputs: list[Any] = []
        self.values: list[Any] = []
        with copies_noted(recorder.note):
            results = called(f, boxes)
        for y in results:
            y = gathered(y)
            own = owned_by(recorder, y)
            value = y if own is None else own.value
            self.values.append(value)
            outputs.append(value if own is None or own.node is None else own.node)
        if not draws and (_random_state() != state or self._surroundings.drew()):
            raise TracingError(
                "a function under ug.jit drew random numbers, and would get the same ones ever "
                "after; draw them outside, and pass them as an argument"
            )
        self.program = Program(inputs, recorder.instructions, outputs)
        recorder.close()
        watched = [(x, mark) for x, mark, _ in recorder.watched.values()]
        recorder.watched.clear()
        # Arrays that nobody else holds cannot change any more.
        self._watched = [
            (x, mark) for x, mark in watched if x.base is not None or sys.getrefcount(x) > _OURS
        ]

    def valid(self) -> bool:
        """Whether what the function used beside its arguments is as it was."""
        return self._surroundings.unchanged() and all(stamp(x) == mark for x, mark in self._watched)


def _random_state() -> Any:
    state: Any = np.random.get_state()
    return (*state[2:4], int(state[1][0]))
