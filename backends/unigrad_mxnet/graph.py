"""What a function did on MXNet arrays, noted call by call, and computed again in plain NumPy.

`Notes` are taken while the function runs; they tell arrays apart by their handles in MXNet. A
`Graph` made of them is a function in plain NumPy, which the engine differentiates to any order.
Its constants are copies: what is written into the arrays later does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from unigrad.errors import HigherOrderError
from unigrad_mxnet.framework import mx
from unigrad_mxnet.hooks import original
from unigrad_mxnet.operators import OPERATORS, Attributes
from unigrad_mxnet.wrong_gradients import RANDOM, WRONG

__all__ = ["Graph", "Notes", "Run", "Token", "plain", "translated", "translated_symbol"]

_HANDLE: Any = mx.base.NDArrayHandle

Run: TypeAlias = "Callable[[list[Any]], Sequence[Any]]"
"""The results of a call, in plain NumPy, from its inputs."""

Kind: TypeAlias = "tuple[tuple[int, ...], np.dtype[Any]]"


class Token:
    """A linear map that an inner derivative gave, as the graphs around it see it."""

    __slots__ = ("apply",)

    def __init__(self, apply: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.apply = apply


def translated(
    name: str, keys: Sequence[str], values: Sequence[Any], training: bool, place: str = ""
) -> Run:
    """MXNet's operator of this name as a function in plain NumPy.

    Args:
        place: where it was called.

    Raises:
        HigherOrderError: if there is no translation.
    """
    translation = OPERATORS.get(name)
    if translation is None:
        raise HigherOrderError(
            f"a derivative was asked for that needs MXNet's operator {name!r}{place} in plain "
            f"NumPy, and {_instead(name)}"
        )
    attributes = Attributes({k: str(v) for k, v in zip(keys, values, strict=True)})
    return lambda xs: translation(xs, attributes, training)


def _instead(name: str) -> str:
    if name in RANDOM:
        return (
            f"what it draws cannot be drawn again; type: {WRONG[name][0].instead}, so that it "
            f"does not depend on what is differentiated"
        )
    return (
        f"there is no translation of it; write the function with other operators, or add one: "
        f"@unigrad_mxnet.translation({name!r}) above a function (inputs, attributes, training) "
        f"-> list of outputs that is written in NumPy"
    )


def translated_symbol(
    graph: dict[str, Any], names: Sequence[str], training: bool, is_np: bool
) -> Run:
    """The graph of a hybridized block as a function in plain NumPy of the inputs ``names``."""
    nodes = []
    for node in graph["nodes"]:
        given = {k: v for k, v in node.get("attrs", {}).items() if not k.startswith("__")}
        run = (
            None
            if node["op"] == "null"
            else translated(node["op"], list(given), list(given.values()), training)
        )
        nodes.append((node["name"], run, [(i, k) for i, k, *_ in node["inputs"]]))
    heads = [(i, k) for i, k, *_ in graph["heads"]]

    def evaluate(xs: list[Any]) -> list[Any]:
        known = dict(zip(names, xs, strict=True))
        values: list[Sequence[Any]] = []
        for name, run, inputs in nodes:
            if run is None:
                values.append((known[name],))
                continue
            found = run([values[i][k] for i, k in inputs])
            # mx.nd has no 0-d arrays
            values.append(found if is_np else [y if y.ndim else y.reshape(1) for y in found])
        return [values[i][k] for i, k in heads]

    return evaluate


@dataclass
class _Call:
    """One call: who computes it, from which slots, into which."""

    name: str
    make: Callable[[], Run]
    inputs: list[int]
    outputs: list[int]
    run: Run = field(init=False)
    kinds: list[Kind | None] = field(init=False)


@dataclass
class _Written:
    """An array that was written in place; kept, so that nothing else gets its memory.

    Attributes:
        before: slots from this one on were made after it was written.
    """

    array: Any
    before: int
    place: tuple[int, int] | None = None


class Notes:
    """The calls of one recording whose results depend on a leaf, of it or of one around it.

    Attributes:
        leaves: slots of the differentiated arrays.
        constants: by slot, arrays that no call noted here has made.
        written: arrays that were written in place with what depends on a leaf.
        detached: handles of arrays that are constants on purpose, whose memory others may share.
    """

    def __init__(self, leaves: Sequence[Any]) -> None:
        self.constants: dict[int, Any] = {}
        self._known: dict[int | None, int] = {}
        self._kept: dict[int, Any] = {}
        self._kinds: dict[int, Kind] = {}
        self._moving: set[int] = set()
        self._places: dict[int, tuple[int, int] | None] = {}
        self._calls: list[_Call] = []
        self.written: list[_Written] = []
        self.detached: set[int | None] = set()
        self._count = 0
        self.leaves = [self._new(x) for x in leaves]
        self._moving.update(self.leaves)

    def _new(self, x: Any) -> int:
        slot = self._count
        self._count += 1
        self._known[_key(x)] = slot
        self._kept[slot] = x
        return slot

    def slot(self, x: Any) -> int:
        """The slot of ``x``, a constant if no call has made it."""
        found = self._known.get(_key(x))
        if found is None:
            found = self._new(x)
            self.constants[found] = x
        return found

    def is_view(self, x: Any) -> bool:
        """Whether ``x`` depends on a leaf, and lies in the memory of another array."""
        return self._known.get(_key(x)) in self._kinds

    def moves(self, x: Any) -> bool:
        """Whether ``x`` depends on a leaf."""
        return self._known.get(_key(x)) in self._moving

    def moving(self) -> list[Any]:
        """The arrays at hand that depend on a leaf."""
        return [self._kept[s] for s in tuple(self._known.values()) if s in self._moving]

    def note(
        self, name: str, make: Callable[[], Run], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        """Note a call; ``make`` gives what computes it in NumPy, if that is ever needed."""
        sources = [self.slot(x) for x in inputs]
        targets = [self._new(y) for y in outputs]
        self._moving.update(targets)
        self._calls.append(_Call(name, make, sources, targets))

    def note_view(self, of: int, view: int, run: Run, shape: tuple[int, ...]) -> None:
        """Note that the array of handle ``view`` was made of ``of``, in MXNet's own library."""
        source = self._known[of]
        slot = self._count
        self._count += 1
        self._known[view] = slot
        self._kinds[slot] = shape, np.dtype(np.void)
        self._moving.add(slot)
        self._calls.append(_Call("view", lambda: run, [source], [slot]))

    def alias(self, of: int, other: int) -> None:
        """Note that ``other`` is one more handle of the array of handle ``of``."""
        self._known[other] = self._known[of]

    def handle_moves(self, handle: int | None) -> bool:
        return self._known.get(handle) in self._moving

    def is_result(self, handle: int | None) -> bool:
        """Whether the array of this handle depends on a leaf, and is none."""
        slot = self._known.get(handle)
        return slot in self._moving and slot not in self.leaves

    def forget(self, handle: int | None) -> bool:
        """The array of this handle is about to be written: what it was, if used, is kept."""
        slot = self._known.pop(handle, None)
        if slot is None or slot not in self.constants:
            return False
        self.constants[slot] = self._kept[slot] = _copied(self._kept[slot])
        return True

    def forget_overlapping(
        self, written: tuple[int, int], place: Callable[[Any], tuple[int, int] | None]
    ) -> bool:
        """As `forget`, of all constants that lie in these places of the memory."""
        found = False
        for slot, x in tuple(self.constants.items()):
            if isinstance(x, Token) or self._known.get(_key(x)) != slot:
                continue
            if slot not in self._places:
                self._places[slot] = place(x.handle)
            own = self._places[slot]
            if own is not None and own[0] < written[1] and written[0] < own[1]:
                found |= self.forget(_key(x))
        return found

    def moves_in(
        self,
        written: tuple[int, int],
        place: Callable[[Any], tuple[int, int] | None],
        handle: int | None,
    ) -> bool:
        """Whether an array that depends on a leaf, of another handle, lies in these places."""
        for slot, x in tuple(self._kept.items()):
            if slot not in self._moving or isinstance(x, Token) or _key(x) == handle:
                continue
            if slot not in self._places:
                self._places[slot] = place(x.handle)
            own = self._places[slot]
            if own is not None and max(own[0], written[0]) < min(own[1], written[1]):
                return True
        return False

    def wrote(self, x: Any) -> None:
        """A call has written into ``x`` what depends on a leaf, of this recording or another."""
        self.written.append(_Written(x, self._count))
        if x.handle.value in self.detached:
            self.detached.clear()

    def overwritten(
        self, handle: int | None, place: Callable[[Any], tuple[int, int] | None], strict: bool
    ) -> bool:
        """Whether a call has written into the memory of this array, through another one.

        Args:
            strict: do not believe that no array that depends on a leaf can be written.
        """
        if handle in self.detached:
            return False
        slot = self._known.get(handle)
        if slot in self._moving and not strict:
            return False
        own: tuple[int, int] | None = None
        for written in self.written:
            if written.array.handle.value == handle:
                continue
            if slot is not None and slot in self._moving and slot >= written.before:
                continue  # made of it
            own = own or place(_HANDLE(handle))
            other = written.place = written.place or place(written.array.handle)
            if own is None:
                return False
            if other is not None and max(own[0], other[0]) < min(own[1], other[1]):
                return True
        return False

    def shared(self) -> list[tuple[int, Any]]:
        """The constants that somebody else may write."""
        return [
            (slot, x)
            for slot, x in self.constants.items()
            if not isinstance(x, Token) and self._known.get(_key(x)) == slot
        ]

    def freed(self, handle: int) -> None:
        self._known.pop(handle, None)
        self.detached.discard(handle)

    def graph(self, outputs: Sequence[Any]) -> Graph:
        """The graph of these outputs; what they do not depend on is left out.

        Raises:
            HigherOrderError: if one of its operators has no translation.
        """
        results = [self.slot(y) for y in outputs]
        needed = set(results)
        calls: list[_Call] = []
        for call in reversed(self._calls):
            if needed.isdisjoint(call.outputs):
                continue
            needed.update(call.inputs)
            call.run = call.make()
            call.kinds = [self._kind(s) for s in call.outputs]
            calls.append(call)
        calls.reverse()
        free = [s for s in self.constants if s in needed]
        arrays = [self.constants[s] for s in free]
        return Graph(calls, self.leaves, free, results, self._count, arrays)

    def _kind(self, slot: int) -> Kind | None:
        if slot in self._kinds:
            return self._kinds[slot]
        x = self._kept[slot]
        if isinstance(x, Token):
            return None
        return tuple(x.shape), np.dtype(x.dtype)


@dataclass
class Graph:
    """A function in plain NumPy.

    Attributes:
        arrays: its constants, in MXNet.
    """

    calls: list[_Call]
    leaves: list[int]
    free: list[int]
    results: list[int]
    count: int
    arrays: list[Any]

    def constants(self) -> list[Any]:
        """The values of the constants now, copied."""
        return [plain(x) for x in self.arrays]

    def scales(self, leaves: Sequence[Any], constants: Sequence[Any]) -> list[float]:
        """For each output, the largest number among the values that it was computed from."""
        with np.errstate(all="ignore"):
            values = self._values(leaves, constants)
        found = [_largest(x) for x in values]
        for call in self.calls:
            largest = max((found[s] for s in call.inputs), default=0.0)
            for s in call.outputs:
                found[s] = max(found[s], largest)
        return [found[s] for s in self.results]

    def __call__(self, leaves: Sequence[Any], constants: Sequence[Any]) -> list[Any]:
        values = self._values(leaves, constants)
        return [values[s] for s in self.results]

    def _values(self, leaves: Sequence[Any], constants: Sequence[Any]) -> list[Any]:
        values: list[Any] = [None] * self.count
        for slot, x in zip(self.leaves, leaves, strict=True):
            values[slot] = np.asarray(x) if type(x) is float else x  # the engine's seed is one
        for slot, x in zip(self.free, constants, strict=True):
            values[slot] = x
        for call in self.calls:
            found = call.run([values[s] for s in call.inputs])
            for slot, y, kind in zip(call.outputs, found, call.kinds, strict=False):
                values[slot] = y if kind is None else _fitted(y, kind, call.name)
        return values


def _largest(x: Any) -> float:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return 0.0
    return float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0))


def _fitted(y: Any, kind: Kind, name: str) -> Any:
    """A result in the shape and dtype that MXNet gave: it has no 0-d arrays in ``mx.nd``."""
    shape, dtype = kind
    if y.shape != shape:
        if int(np.prod(y.shape)) != int(np.prod(shape)):
            raise HigherOrderError(
                f"the translation of MXNet's operator {name!r} gave the shape {y.shape} where "
                f"MXNet gives {shape}; compute on another backend: "
                f"ug.asarray(tree, backend='numpy'), and please report it"
            )
        y = np.reshape(y, shape)
    if y.dtype != dtype and dtype.kind != "V":
        y = y.astype(dtype)
    return y


def plain(x: Any) -> Any:
    """The values of an array, never to be written again; of a token, its map."""
    if isinstance(x, Token):
        return x.apply
    values = original("asnumpy")(x)
    values.flags.writeable = False  # the engine keeps such constants as they are
    return values


def _key(x: Any) -> int:
    return -id(x) if isinstance(x, Token) else x.handle.value or 0


def _copied(x: Any) -> Any:
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        return x.copy()
