"""Reverse mode: a tape of what ran, and the walk back along it.

A node keeps only the values that its rule will read; the walk of `value_and_grad` drops each
node when it has passed, so that memory shrinks while it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np

from unigrad.engine.core import (
    FROZEN,
    NOTHING,
    Box,
    Rule,
    Trace,
    apply,
    fitted,
    gathered,
    plain_constant,
    promoted,
    snapshot,
    used_too_late,
)
from unigrad.errors import TracingError

__all__ = ["Node", "Tape", "value_and_grad", "vjp"]

_LEAF = Rule("argument")
_PICK = Rule("one of several outputs")


KEPT_WHOLE = 1 << 14
"""Arrays of at most so many bytes are kept without asking whether a rule reads them."""


class Like:
    """What is left of an array whose values no rule will read."""

    __slots__ = ("dtype", "shape")

    def __init__(self, x: Any) -> None:
        self.shape = x.shape
        self.dtype = x.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


Node: TypeAlias = tuple[Rule, Sequence[Any], Mapping[str, Any], Any, Sequence["int | None"]]
"""One operation: its rule, arguments, options, answer, and for each argument the place on the
tape of the operation that made it. A tuple, because one is made for every operation."""


class Tape(Trace):
    """The operations of one reverse derivative, in the order in which they ran.

    The ``node`` of a box is the place of its operation on the tape.
    """

    __slots__ = ("nodes",)

    derives = True

    def __init__(self, box: type[Box]) -> None:
        super().__init__(box)
        self.nodes: list[Node] = []

    def close(self) -> None:
        super().close()
        self.nodes = OVER

    def leaf(self, x: Any) -> Any:
        """An argument of the function, boxed; an integer stays plain."""
        self.nodes.append((_LEAF, (), NOTHING, x, ()))
        return self.box(x, self, len(self.nodes) - 1, FROZEN) if x.dtype.kind in "fc" else x

    def record(
        self,
        rule: Rule,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        links: Sequence[int | None],
    ) -> Any:
        if isinstance(ans, (tuple, list)):
            return self._several(rule, args, kwargs, ans, links)
        if type(ans) is complex:  # Trap: 1j * numpy.float64(2.0) is a Python number.
            ans = np.complex128(ans)
        if ans.dtype.kind not in "fc":
            return plain_constant(ans)
        for link in links:
            if link is not None:
                break
        else:
            return self.box(ans, self, None)
        node = rule, args, kwargs, ans, links
        if (type(ans) is np.ndarray and ans.nbytes > KEPT_WHOLE) or (
            type(args[0]) is np.ndarray and args[0].nbytes > KEPT_WHOLE
        ):
            node = _thinned(node)
        nodes = self.nodes
        nodes.append(node)
        return self.box(ans, self, len(nodes) - 1)

    def noted(
        self,
        rule: Rule,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        links: Sequence[int | None],
    ) -> Any:
        """`record`, for the operators and functions that come straight here."""
        if type(ans) is np.ndarray:
            if ans.nbytes > KEPT_WHOLE or ans.dtype.char not in _FLOATS:
                return self.record(rule, _unnamed, args, kwargs, ans, links)
        elif type(ans) is not np.float64:
            return self.record(rule, _unnamed, args, kwargs, ans, links)
        if links[0] is None and links[-1] is None:
            return self.box(ans, self, None)
        nodes = self.nodes
        nodes.append((rule, args, kwargs, ans, links))
        return self.box(ans, self, len(nodes) - 1)

    def _several(
        self,
        rule: Rule,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        answers: Any,
        links: Sequence[int | None],
    ) -> Any:
        several = len(self.nodes)
        connected = any(link is not None for link in links)
        if connected:
            self.nodes.append((rule, args, kwargs, list(answers), links))
        boxes = []
        for k, y in enumerate(answers):
            if y.dtype.kind not in "fc":
                boxes.append(plain_constant(y))
                continue
            boxes.append(self.box(y, self, len(self.nodes) if connected else None))
            if connected:
                self.nodes.append((_PICK, (), {"output": k}, y, (several,)))
        return type(answers)(*boxes) if type(answers) not in (tuple, list) else tuple(boxes)


_NONE: Node = (_LEAF, (), NOTHING, None, ())


def _thinned(node: Node) -> Node:
    """The node without the values that the way back will not read."""
    rule, args, kwargs, ans, links = node
    needed = rule.needs(links)
    kept = [
        a if read or type(a) is not np.ndarray or a.nbytes <= KEPT_WHOLE else Like(a)
        for a, read in zip(args, needed[1:], strict=True)
    ]
    return rule, kept, kwargs, ans if needed[0] else Like(ans), links


def _walk(nodes: list[Node], places: Iterable[int], cotangents: list[Any], drop: bool) -> None:
    """Carry cotangents from answers to arguments, down to the leaves."""
    owned: set[int] = set()  # cotangents that are arrays of our own, to be added into in place
    for place in places:
        g = cotangents[place]
        rule, args, kwargs, ans, links = nodes.pop() if drop else nodes[place]
        if g is None:
            continue
        cotangents[place] = None
        if rule is _PICK:
            several = links[0]
            assert several is not None
            if cotangents[several] is None:
                cotangents[several] = [None] * len(nodes[several][3])
            cotangents[several][kwargs["output"]] = g
            continue
        derivatives = rule.derivatives
        pulls: Any = rule.pulls
        given = None if rule.joint is None else rule.joint(g, ans, *args, **kwargs)
        if rule.gather is not None:
            (source,) = links
            assert source is not None
            if (before := cotangents[source]) is not None:
                cotangents[source] = total = rule.gather(before, g, source in owned, **kwargs)
                if type(total) is np.ndarray:
                    owned.add(source)
                continue
        if derivatives is not None and g.dtype.kind == "c":
            given = [
                None if link is None else rule.pull(i, g, ans, args, kwargs)
                for i, link in enumerate(links)
            ]
        for i, link in enumerate(links):
            if link is None:
                continue
            if given is not None:
                c = given[i]
            elif derivatives is not None:
                derivative = derivatives[i]
                if derivative is None:
                    raise rule.missing(i)
                c = g * derivative(ans, *args)
            else:
                pull = pulls[i]
                if pull is None:
                    raise rule.missing(i)
                c = pull(g, ans, *args, **kwargs)
            if c is None:
                continue
            like = nodes[link][3]
            if c.dtype is not like.dtype or c.shape != like.shape:
                c = fitted(c, like)
            before = cotangents[link]
            if before is None:
                cotangents[link] = c
                if rule.gather is not None and type(c) is np.ndarray:
                    owned.add(link)
            elif link in owned and type(c) is np.ndarray:
                np.add(before, c, before)
            else:
                cotangents[link] = total = before + c
                if type(total) is np.ndarray:
                    owned.add(link)
                else:  # the sum of an array of shape () and a number is a number
                    owned.discard(link)


def apply_one(
    rule: Rule, fn: Callable[..., Any], x: Box, kwargs: Mapping[str, Any] = NOTHING
) -> Any:
    """`core.apply` of a function of one array."""
    tape = x.home
    if type(tape) is not Tape or rule.view:
        return apply(rule, fn, (x,), kwargs)
    if x.alias is not None:
        x.settle()
    value = x.value
    if type(value) is np.ndarray and value.nbytes > KEPT_WHOLE:
        return apply(rule, fn, (x,), kwargs)
    ans = fn(value, **kwargs) if kwargs else fn(value)
    return tape.noted(rule, (value,), kwargs, ans, (x.node,))


def apply_two(rule: Rule, fn: Callable[..., Any], x: Any, y: Any) -> Any:
    """`core.apply` of a function of two operands, one of which is a box."""
    tape = x.home if isinstance(x, Box) else y.home
    if type(tape) is not Tape or rule.view:
        return apply(rule, fn, (x, y))
    operands, links, constant = [], [], None
    for a in (x, y):
        if isinstance(a, Box):
            if a.home is not tape:
                return apply(rule, fn, (x, y))
            if a.alias is not None:
                a.settle()
            operands.append(a.value)
            links.append(a.node)
            continue
        if type(a) is np.ndarray and a.dtype.char != "O":
            constant = a if rule.linear else tape.constants.keep(a)
            operands.append(constant)
        elif type(a) is float or type(a) is int:
            operands.append(a)
        else:
            return apply(rule, fn, (x, y))
        links.append(None)
    ans = fn(*operands)
    if constant is not None and not rule.linear and constant.dtype is not ans.dtype:
        operands = promoted(rule, operands, links, ans)
    return tape.noted(rule, operands, NOTHING, ans, links)


_FLOATS = frozenset("fdFD")


def _unnamed(*_: Any) -> Any:
    raise AssertionError("a tape does not call the functions that it notes")


class _Over(list[Any]):
    """What takes the place of the nodes of a tape when its function has returned."""

    def append(self, _: Any) -> NoReturn:
        raise used_too_late()


OVER: list[Any] = _Over()


class _Run:
    """One run of a function on a tape."""

    __slots__ = ("count", "ends", "nodes", "tape", "values")

    def __init__(
        self, f: Callable[..., Sequence[Any]], primals: Sequence[Any], box: type[Box]
    ) -> None:
        tape = self.tape = Tape(box)
        self.count = len(primals)
        outputs = called(f, [tape.leaf(snapshot(x)) for x in primals])
        self.values: list[Any] = []
        self.ends: list[int | None] = []
        for y in outputs:
            y = gathered(y)
            own = owned_by(tape, y)
            self.values.append(y if own is None else own.value)
            self.ends.append(None if own is None else own.node)
        self.nodes = tape.nodes
        tape.close()

    def seeded(self, nodes: Sequence[Node], cotangents: Sequence[Any]) -> list[Any]:
        """The cotangents that arrive at the outputs, by places on the tape."""
        arriving: list[Any] = [None] * len(nodes)
        for end, c in zip(self.ends, cotangents, strict=True):
            if end is not None and c is not None:
                c = fitted(c, nodes[end][3])
                arriving[end] = c if arriving[end] is None else arriving[end] + c
        return arriving

    def connected(self) -> list[int]:
        """The places that the outputs depend on, latest first; the others are emptied."""
        nodes = self.nodes
        needed = [False] * len(nodes)
        for end in self.ends:
            if end is not None:
                needed[end] = True
        places = []
        for place in range(len(nodes) - 1, self.count - 1, -1):
            if needed[place]:
                places.append(place)
                for link in nodes[place][4]:
                    if link is not None:
                        needed[link] = True
            else:
                nodes[place] = _NONE
        return places


_OBJECTS = re.compile(r"loop of ufunc does not support argument|from dtype\('O'\)|NPY_ITER_REFS_OK")


def called(f: Callable[..., Sequence[Any]], boxes: Sequence[Any]) -> Sequence[Any]:
    """``f(*boxes)``, with errors that NumPy made of ours, or of object arrays, made ours again."""
    try:
        return f(*boxes)
    except ValueError as error:
        # Trap: `numpy.zeros(3)[0] = x[0]` asks for float(x[0]) and wraps our error in its own.
        if isinstance(error.__cause__, TracingError):
            raise TracingError(str(error.__cause__)) from error
        raise
    except TypeError as error:
        if not isinstance(error, TracingError) and _OBJECTS.search(str(error)):
            raise TracingError(
                "NumPy cannot compute this of an array of objects, which is what "
                "numpy.array([...]) makes of traced scalars and numbers; make it by "
                "numpy.stack([...]), or add numpy.zeros_like(x[0]) to the numbers in it"
            ) from error
        raise


def owned_by(trace: Trace, y: Any) -> Box | None:
    """The output of a traced function, if it is a box of this trace.

    Raises:
        TracingError: if it belongs to an inner trace that is over.
    """
    if not isinstance(y, Box):
        return None
    if y.alias is not None:
        y.settle()
    if y.home is not trace and y.home.over:
        raise used_too_late()
    if y.home.level > trace.level:
        raise TracingError(
            "a value of an inner derivative escaped from it through an in-place write "
            "or an outer variable; return it from the inner function instead"
        )
    return y if y.home is trace else None


def vjp(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any], box: type[Box]
) -> tuple[tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """Outputs of ``f`` and its pullback, which may be called any number of times.

    The pullback takes one cotangent per output (``None``: zero) and gives one per primal
    (``None``: the outputs do not depend on it).
    """
    run = _Run(f, primals, box)
    places = run.connected()
    nodes, constants = run.nodes, run.tape.constants

    def pullback(cotangents: Sequence[Any]) -> tuple[Any, ...]:
        constants.require_unchanged()
        arriving = run.seeded(nodes, cotangents)
        _walk(nodes, places, arriving, drop=False)
        return tuple(arriving[: run.count])

    return tuple(run.values), pullback


def value_and_grad(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any], box: type[Box]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Outputs of ``f``, and the gradient of the first of them, a scalar."""
    run = _Run(f, primals, box)
    nodes = run.nodes
    run.tape.constants.require_unchanged()
    one = run.values[0].dtype.type(1.0)
    arriving = run.seeded(nodes, [one, *[None] * (len(run.values) - 1)])
    _walk(nodes, range(len(nodes) - 1, run.count - 1, -1), arriving, drop=True)
    return tuple(run.values), tuple(arriving[: run.count])
