"""The engine proper: what is recorded while a function runs, and the walk back.

Nothing here knows NumPy's protocols (`unigrad.engine.array`) or any rule (`unigrad.engine.rules`).
A box belongs to one trace; where boxes of several traces meet, the innermost trace records, and
computes on the values inside its boxes, which may be boxes of outer traces: any order follows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from unigrad.engine.constants import Constants
from unigrad.errors import TracingError

__all__ = [
    "Alias",
    "Box",
    "Node",
    "Rule",
    "Trace",
    "apply",
    "fitted",
    "innermost",
    "primal",
    "stop_gradient",
    "unbroadcast",
    "vjp",
]

Pull: TypeAlias = Callable[..., Any]
"""``pull(g, ans, *args, **kwargs)``: the cotangent of one argument, given that of the answer."""

_levels = itertools.count()
_serials = itertools.count()
_NOTHING: Mapping[str, Any] = {}


class Rule:
    """How cotangents pass one operation.

    Attributes:
        name: what messages call it.
        pulls: one `Pull` for each positional argument.
        joint: or one for all of them at once, which returns a sequence.
        linear: the pulls look at shapes only, never at values.
        view: the answer shares memory with the first argument.
    """

    __slots__ = ("joint", "linear", "name", "pulls", "view")

    def __init__(
        self,
        name: str,
        pulls: Sequence[Pull | None] | None = None,
        *,
        joint: Pull | None = None,
        linear: bool = False,
        view: bool = False,
    ) -> None:
        self.name = name
        self.pulls = pulls
        self.joint = joint
        self.linear = linear
        self.view = view


_LEAF = Rule("argument")
_PICK = Rule("one of several outputs")


class Node:
    """One recorded operation; a cotangent that arrives here has the answer's shape and dtype."""

    __slots__ = ("ans", "args", "kwargs", "parents", "rule", "serial")

    def __init__(
        self,
        rule: Rule,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        parents: Sequence[tuple[int, Node]],
    ) -> None:
        self.serial = next(_serials)
        self.rule = rule
        self.args = args
        self.kwargs = kwargs
        self.ans = ans
        self.parents = parents


class Trace:
    """One derivative in progress. Inner traces have higher levels; there is no global depth."""

    __slots__ = ("constants", "level")

    def __init__(self) -> None:
        self.level = next(_levels)
        self.constants = Constants()

    def record(
        self,
        rule: Rule,
        args: list[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        parents: list[tuple[int, Node]],
        box: type[Box],
    ) -> Any:
        """The answer, boxed. Integers and booleans have no derivative and stay plain."""
        if isinstance(ans, (tuple, list)):
            return self._record_several(rule, args, kwargs, ans, parents, box)
        if type(ans) is complex:  # Trap: 1j * numpy.float64(2.0) is a Python number.
            ans = np.complex128(ans)
        if ans.dtype.kind not in "fc":
            return _constant(ans)
        if not parents:
            return box(ans, self, None)
        return box(ans, self, Node(rule, args, kwargs, ans, parents))

    def _record_several(
        self,
        rule: Rule,
        args: list[Any],
        kwargs: Mapping[str, Any],
        answers: Any,
        parents: list[tuple[int, Node]],
        box: type[Box],
    ) -> Any:
        several = Node(rule, args, kwargs, list(answers), parents)
        boxes = [
            box(y, self, Node(_PICK, (), {"output": k}, y, ((0, several),)) if parents else None)
            if y.dtype.kind in "fc"
            else _constant(y)
            for k, y in enumerate(answers)
        ]
        return type(answers)(*boxes) if type(answers) not in (tuple, list) else tuple(boxes)


class Alias:
    """Who shares memory with a box: in-place writes must be seen through every view.

    Attributes:
        root: the box that this one is a view of.
        index: the basic index that makes the view; ``None``: made otherwise, never written.
        seen: the version of ``root`` that this box shows.
        version: how often this box was written.
        frozen: an argument of the differentiated function, never written.
    """

    __slots__ = ("frozen", "index", "root", "seen", "version")

    def __init__(self, root: Box | None = None, index: Any = None, frozen: bool = False) -> None:
        self.root = root
        self.index = index
        self.frozen = frozen
        self.version = 0
        self.seen = 0
        if root is not None:
            if root.alias is None:
                root.alias = Alias()
            self.seen = root.alias.version

    def fresh(self) -> bool:
        """Whether the root was not written behind the back of this view."""
        if self.root is None or self.root.alias is None:
            return True
        return self.seen == self.root.alias.version and self.root.alias.fresh()


class Box:
    """A value of one trace: an array, its home trace, and the node that made it.

    ``node`` is ``None`` for a constant that lives in the trace only to be written into.
    """

    __slots__ = ("alias", "home", "node", "value")

    def __init__(
        self, value: Any, home: Trace, node: Node | None, alias: Alias | None = None
    ) -> None:
        self.value = value
        self.home = home
        self.node = node
        self.alias = alias

    def settle(self) -> None:
        """Take over what was written into the array that this box is a view of."""
        alias = self.alias
        if alias is None or alias.fresh():
            return
        root = alias.root
        if root is None or root.alias is None or alias.index is None:
            raise TracingError(
                "an array was written in place after a view of it (a transpose, a reshape, ...) "
                "was taken, and then the view was read; take the view after the writing, or "
                "copy it: view.copy()"
            )
        root.settle()
        self.assume(root[alias.index])  # type: ignore[index]
        alias.seen = root.alias.version

    def assume(self, other: Box) -> None:
        """Become another box's value, in place."""
        self.value, self.home, self.node = other.value, other.home, other.node

    def overwrite(self, new: Box) -> None:
        """An in-place write: this box and whatever it is a view of now show ``new``."""
        alias = self.alias
        if alias is None:
            alias = self.alias = Alias()
        if alias.frozen:
            raise TracingError(
                "the function writes into its own argument, which would change the caller's "
                "array; type: x = x.copy() first"
            )
        if alias.root is not None:
            if alias.index is None:
                raise TracingError(
                    "an in-place write into a view made by transpose, reshape, ... is not "
                    "followed; index the original array, or write into a copy: y = y.copy()"
                )
            alias.root[alias.index] = new  # type: ignore[index]
            assert alias.root.alias is not None
            alias.seen = alias.root.alias.version
        alias.version += 1
        self.assume(new)


def _constant(ans: Any) -> Any:
    if ans.dtype.kind in "biu":
        return ans
    raise TracingError(
        f"a traced array met one of dtype {ans.dtype}, whose entries are not followed; convert "
        f"that one with x.astype(float), or build it with numpy.stack"
    )


_PLAIN = frozenset({int, float, complex, bool, type(None), tuple, list, np.ndarray, np.float64})


def _followed(a: Any, rule: Rule) -> Any:
    """An operand that is not a box, if the rules hold for it.

    Trap: for a ``numpy.matrix`` the star is a matrix product, and a masked array drops entries.
    """
    if isinstance(a, (np.matrix, np.ma.MaskedArray)) or (
        hasattr(type(a), "shape")
        and not hasattr(type(a), "__array_function__")
        and not isinstance(a, (Box, np.generic))
    ):
        kind = f"{type(a).__module__}.{type(a).__qualname__}"
        raise TracingError(
            f"{rule.name} of a traced NumPy array and a {kind} is not followed; make that one a "
            f"plain array first: numpy.asarray(it), it.toarray(), or ug.to_numpy(it)"
        )
    return a


def innermost(args: Sequence[Any]) -> Box | None:
    """A box of the innermost trace among the arguments; ``None`` if there is no box."""
    top: Box | None = None
    for a in args:
        if isinstance(a, Box):
            if a.alias is not None:
                a.settle()
            if top is None or a.home.level > top.home.level:
                top = a
    return top


def apply(
    rule: Rule, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] = _NOTHING
) -> Any:
    """``fn(*args, **kwargs)``, recorded by the innermost trace among ``args``."""
    trace: Trace | None = None
    for a in args:
        if isinstance(a, Box):
            if a.alias is not None and a.alias.root is not None:
                a.settle()
            if trace is None or (a.home is not trace and a.home.level > trace.level):
                trace, box = a.home, type(a)
    if trace is None:
        return fn(*args, **kwargs)
    values = []
    parents = []
    for i, a in enumerate(args):
        if isinstance(a, Box) and a.home is trace:
            values.append(a.value)
            if a.node is not None:
                parents.append((i, a.node))
        elif type(a) is np.ndarray and not rule.linear:
            values.append(trace.constants.keep(a))
        else:
            values.append(a if type(a) in _PLAIN else _followed(a, rule))
    ans = fn(*values, **kwargs) if kwargs else fn(*values)
    out = trace.record(rule, values, kwargs, ans, parents, box)
    if rule.view and isinstance(out, Box) and args[0].home is trace:
        out.alias = Alias(args[0])
    return out


def primal(x: Any) -> Any:
    """The plain value inside a box, at whatever depth; anything else as it is."""
    while isinstance(x, Box):
        if x.alias is not None:
            x.settle()
        x = x.value
    return x


def stop_gradient(x: Any) -> Any:
    """The values of ``x``, constant at every level, in memory of their own."""
    value = primal(x)
    return value.copy() if value is not x and isinstance(value, np.ndarray) else value


def fitted(c: Any, like: Any) -> Any:
    """A cotangent brought to the space of what it belongs to: broadcasting and casts undone."""
    if c.shape != like.shape:
        c = unbroadcast(c, like.shape)
    dtype = like.dtype
    if c.dtype is not dtype and c.dtype != dtype:
        if c.dtype.kind == "c" and dtype.kind != "c":
            c = np.real(c)
        c = c.astype(dtype)
    return c


def unbroadcast(c: Any, shape: tuple[int, ...]) -> Any:
    """A cotangent summed over the axes that broadcasting made, or spread over missing ones."""
    extra = len(c.shape) - len(shape)
    ones = [i + extra for i, n in enumerate(shape) if n == 1 and i + extra >= 0]
    ones = [i for i in ones if c.shape[i] != 1]
    if ones:
        c = np.sum(c, axis=tuple(ones), keepdims=True)
    if extra > 0:
        c = np.sum(c, axis=tuple(range(extra)))
    return c if c.shape == shape else np.broadcast_to(c, shape)


def _reachable(outputs: Sequence[Node | None]) -> list[Node]:
    """All nodes that the outputs depend on, latest first."""
    pending = [node for node in outputs if node is not None]
    found = set(pending)
    while pending:
        for _, parent in pending.pop().parents:
            if parent not in found:
                found.add(parent)
                pending.append(parent)
    return sorted(found, key=lambda node: node.serial, reverse=True)


def _walk(nodes: Sequence[Node], cotangents: dict[Node, Any]) -> None:
    """Carry cotangents from answers to arguments, down to the leaves."""
    for node in nodes:
        rule = node.rule
        if rule is _LEAF:
            continue
        g = cotangents.pop(node, None)
        if g is None:
            continue
        if rule is _PICK:
            several = node.parents[0][1]
            cotangents.setdefault(several, [None] * len(several.ans))[node.kwargs["output"]] = g
            continue
        joint = None
        if rule.joint is not None:
            joint = rule.joint(g, node.ans, *node.args, **node.kwargs)
        for i, parent in node.parents:
            if joint is not None:
                c = joint[i]
            else:
                assert rule.pulls is not None
                pull = rule.pulls[i]
                if pull is None:
                    raise TracingError(
                        f"{rule.name} has no derivative with respect to its argument number {i}; "
                        f"pass ug.stop_gradient(value) there"
                    )
                c = pull(g, node.ans, *node.args, **node.kwargs)
            if c is not None:
                c = fitted(c, parent.ans)
                before = cotangents.get(parent)
                cotangents[parent] = c if before is None else before + c


def vjp(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any], box: type[Box]
) -> tuple[tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """Outputs of ``f`` and its pullback, which may be called any number of times.

    The pullback takes one cotangent per output (``None``: zero) and gives one per primal
    (``None``: the outputs do not depend on it).
    """
    trace = Trace()
    leaves = [Node(_LEAF, (), _NOTHING, x, ()) for x in primals]
    boxes = [
        box(x, trace, leaf, Alias(frozen=True)) if x.dtype.kind in "fc" else x
        for x, leaf in zip(primals, leaves, strict=True)
    ]
    try:
        outputs = f(*boxes)
    except ValueError as error:
        # Trap: `numpy.zeros(3)[0] = x[0]` asks for float(x[0]) and wraps our error in its own.
        if isinstance(error.__cause__, TracingError):
            raise TracingError(str(error.__cause__)) from error
        raise
    values: list[Any] = []
    ends: list[Node | None] = []
    for y in outputs:
        if isinstance(y, Box):
            if y.alias is not None:
                y.settle()
            if y.home.level > trace.level:
                raise TracingError(
                    "a value of an inner derivative escaped from it through an in-place write "
                    "or an outer variable; return it from the inner function instead"
                )
        own = isinstance(y, Box) and y.home is trace
        values.append(y.value if own else y)
        ends.append(y.node if own else None)
    nodes: list[Node] | None = None

    def pullback(cotangents: Sequence[Any]) -> tuple[Any, ...]:
        nonlocal nodes
        trace.constants.require_unchanged()
        if nodes is None:
            nodes = _reachable(ends)
        arriving: dict[Node, Any] = {}
        for end, c in zip(ends, cotangents, strict=True):
            if end is not None and c is not None:
                c = fitted(c, end.ans)
                before = arriving.get(end)
                arriving[end] = c if before is None else before + c
        _walk(nodes, arriving)
        return tuple(arriving.get(leaf) for leaf in leaves)

    return tuple(values), pullback
