"""What every kind of trace shares: boxes, rules, aliases, and the one place where operations pass.

Nothing here knows NumPy's protocols (`unigrad.engine.array`), any rule (`unigrad.engine.rules`)
or what a trace does with an operation (`reverse`, `forward`, `recording`). A box belongs to one
trace; where boxes of several traces meet, the innermost takes the operation, and computes on the
values inside its boxes, which may be boxes of outer traces: any order and any nesting follows.
"""

from __future__ import annotations

import abc
import itertools
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from unigrad.engine.constants import Constants
from unigrad.engine.lazy import is_lazy
from unigrad.engine.reading import positions_read
from unigrad.errors import TracingError

__all__ = [
    "FROZEN",
    "Alias",
    "Box",
    "Rule",
    "Trace",
    "apply",
    "fitted",
    "gathered",
    "innermost",
    "plain_constant",
    "primal",
    "snapshot",
    "stop_gradient",
    "unbroadcast",
    "used_too_late",
]

Pull: TypeAlias = Callable[..., Any]
"""``pull(g, ans, *args, **kwargs)``: the cotangent of one argument, given that of the answer."""

Derivative: TypeAlias = Callable[..., Any]
"""``derivative(ans, *args)``: the partial derivative of an elementwise function."""

_levels = itertools.count()
NOTHING: Mapping[str, Any] = {}


class Rule:
    """How derivatives pass one operation.

    Attributes:
        name: what messages call it.
        pulls: one `Pull` for each positional argument, ``None`` where it has no derivative.
        joint: or one for all of them at once, which returns a sequence.
        derivatives: or, of an elementwise function, its partial derivatives.
        linear: the function is linear in all its arrays together, and the pulls look at shapes
            and dtypes only, never at values.
        multilinear: the function is linear in each of its arrays, the others held fixed.
        symmetric: elementwise, and the pulls of real arrays carry tangents as they do cotangents.
        view: the answer shares memory with the first argument.
        gather: ``gather(total, g, owned, **kwargs)``, of a function of one array: the sum of a
            cotangent of that array and one more of the answer; in place if ``owned``.
    """

    __slots__ = (
        "_needed",
        "derivatives",
        "gather",
        "joint",
        "linear",
        "multilinear",
        "name",
        "pulls",
        "reads",
        "symmetric",
        "view",
    )

    def __init__(
        self,
        name: str,
        pulls: Sequence[Pull | None] | None = None,
        *,
        joint: Pull | None = None,
        derivatives: Sequence[Derivative | None] | None = None,
        linear: bool = False,
        multilinear: bool = False,
        symmetric: bool = False,
        view: bool = False,
        gather: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.pulls = pulls
        self.joint = joint
        self.derivatives = derivatives
        self.linear = linear
        self.multilinear = multilinear
        self.symmetric = symmetric
        self.view = view
        self.gather = gather
        self.reads: tuple[Callable[[int], bool], ...] | None = None
        self._needed: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        if derivatives is not None:
            self.reads = tuple(positions_read(d, 0) for d in derivatives)
        elif type(pulls) in (list, tuple):
            self.reads = tuple(positions_read(p, 1) for p in pulls or ())

    def needs(self, connected: Sequence[Any]) -> tuple[bool, ...]:
        """Which values are read on the way back: the answer, then each argument.

        ``connected`` has an entry for each argument, ``None`` if it is a constant.
        """
        signature = tuple([link is not None for link in connected])
        needed = self._needed.get(signature)
        if needed is None:
            needed = self._needed[signature] = tuple(
                not self.linear
                and (
                    self.reads is None
                    or any(r(k) for r, on in zip(self.reads, signature, strict=False) if on)
                )
                for k in range(len(signature) + 1)
            )
        return needed

    def pull(self, i: int, g: Any, ans: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The cotangent of argument ``i``.

        Raises:
            TracingError: if the operation has no derivative with respect to it.
        """
        if self.derivatives is not None:
            derivative = self.derivatives[i]
            if derivative is None:
                raise self.missing(i)
            d = derivative(ans, *args)
            return g * (np.conj(d) if g.dtype.kind == "c" else d)
        assert self.pulls is not None
        pull = self.pulls[i]
        if pull is None:
            raise self.missing(i)
        return pull(g, ans, *args, **kwargs)

    def takes(self, i: int) -> bool:
        """Whether argument ``i`` is one of the arrays, not a condition or an option."""
        if self.derivatives is not None:
            return self.derivatives[i] is not None
        return self.pulls is None or self.pulls[i] is not None

    def missing(self, i: int) -> TracingError:
        """The error for an argument without a derivative."""
        error: TracingError = TracingError(
            f"{self.name} has no derivative with respect to its argument number {i}; "
            f"pass ug.stop_gradient(value) there"
        )
        return error


class Trace(abc.ABC):
    """One derivative or recording in progress. Inner ones have higher levels.

    There is no global depth: a trace knows its level, and a box its trace.
    """

    __slots__ = ("box", "constants", "level", "over")

    derives: bool
    """Whether its boxes stand for values that are known: comparisons look inside them."""

    def __init__(self, box: type[Box]) -> None:
        self.level = next(_levels)
        self.constants = Constants()
        self.box = box
        self.over = False

    def close(self) -> None:
        """The function has returned: nothing more is noted."""
        self.over = True

    @abc.abstractmethod
    def record(
        self,
        rule: Rule,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ans: Any,
        links: Sequence[Any],
    ) -> Any:
        """Take note of ``ans = fn(*args, **kwargs)``, and give it boxed.

        ``links[i]`` is the ``node`` of the box that argument ``i`` was, ``None`` for a constant.
        """


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
        """Whether no root was written behind the back of this view."""
        alias = self
        while alias.root is not None and alias.root.alias is not None:
            if alias.seen != alias.root.alias.version:
                return False
            alias = alias.root.alias
        return True


FROZEN = Alias(frozen=True)
"""The alias of every argument of a traced function; it never changes."""


class Box:
    """A value of one trace: an array, its home, and what the home knows of it.

    ``node`` is what made it (reverse), its tangent (forward), or its variable (recording);
    ``None`` for a constant that lives in the trace only to be written into.
    """

    __slots__ = ("alias", "home", "node", "value")

    def __init__(self, value: Any, home: Trace, node: Any, alias: Alias | None = None) -> None:
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
        alias.version += 1  # for the views of this view

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


def snapshot(x: Any) -> Any:
    """A box as it is now, which later writes into ``x`` do not reach; anything else as it is."""
    if not isinstance(x, Box):
        return x
    if x.alias is not None:
        x.settle()
    return type(x)(x.value, x.home, x.node)


def used_too_late() -> TracingError:
    """The error for a value whose trace is over."""
    error: TracingError = TracingError(
        "a traced value was used after the derivative that it belongs to was over: it was "
        "kept by the function, in a cache, a list or an attribute; keep ug.stop_gradient(x) "
        "instead, or return it by has_aux=True"
    )
    return error


def plain_constant(ans: Any) -> Any:
    """An answer that has no derivative: integers and booleans stay plain.

    Raises:
        TracingError: for anything else, which would be lost.
    """
    if ans.dtype.kind in "biu":
        return ans
    raise TracingError(
        f"a traced array met one of dtype {ans.dtype}, whose entries are not followed; convert "
        f"that one with x.astype(float), or build it with numpy.stack"
    )


_PLAIN = frozenset({int, float, complex, bool, type(None), tuple, list, np.float64})


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
    if isinstance(a, numbers.Number) and not isinstance(a, (np.generic, int, float, complex)):
        raise TracingError(
            f"{rule.name} of a traced NumPy array and a {type(a).__name__} is not followed; "
            f"type: float(it)"
        )
    # Trap: Dask's `mask[i] = 1.0` changes the object that the tape has kept.
    return a.copy() if not isinstance(a, (Box, np.generic)) and is_lazy(a) else a


def gathered(objects: Any) -> Any:
    """An object array of traced scalars, as ``numpy.array([x[0], x[1]])`` gives it, stacked."""
    if not isinstance(objects, np.ndarray) or objects.dtype.kind != "O":
        return objects
    if objects.shape == ():
        return objects.item()
    if objects.size == 0:
        return np.zeros(objects.shape)
    return np.stack([gathered(np.asarray(entry, dtype=object)) for entry in objects])


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
    rule: Rule, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] = NOTHING
) -> Any:
    """``fn(*args, **kwargs)``, noted by the innermost trace among ``args``."""
    trace: Trace | None = None
    for a in args:
        if isinstance(a, Box):
            if a.alias is not None and a.alias.root is not None:
                a.settle()
            if trace is None or (a.home is not trace and a.home.level > trace.level):
                trace = a.home
    if trace is None:
        return fn(*args, **kwargs)
    values = []
    links = []
    mixed = False
    for a in args:
        if isinstance(a, Box):
            own = a.home is trace
            # A constant of this trace may be written by the function later on.
            values.append(a.value if own else snapshot(a))
            links.append(a.node if own else None)
            continue
        links.append(None)
        if isinstance(a, np.ndarray) and (type(a) is np.ndarray or _followed(a, rule) is a):
            if a.dtype.char == "O":
                return apply(rule, fn, [gathered(a) for a in args], kwargs)
            mixed = True
            values.append(a if rule.linear else trace.constants.keep(a))
        elif type(a) in _PLAIN:
            values.append(a)
        else:
            mixed = mixed or isinstance(a, np.generic)
            values.append(_followed(a, rule))
    ans = fn(*values, **kwargs) if kwargs else fn(*values)
    if mixed and not rule.linear and trace.derives:
        values = promoted(rule, values, links, ans)
    out = trace.record(rule, fn, values, kwargs, ans, links)
    if rule.view and isinstance(out, Box) and args[0].home is trace:
        out.alias = Alias(args[0])
    return out


def promoted(rule: Rule, values: list[Any], links: Sequence[Any], ans: Any) -> list[Any]:
    """The operands, constants in the precision of the answer, for the rules to compute with.

    Trap: a derivative ``-y`` of unsigned integers wraps, and ``1 / y`` of float16 is float16.
    """
    dtype = getattr(ans, "dtype", None)
    if dtype is None or dtype.kind not in "fc":
        return values
    if dtype.kind == "c":
        dtype = np.dtype(f"f{dtype.itemsize // 2}")
    found = list(values)
    for i, a in enumerate(values):
        if links[i] is not None or not isinstance(a, (np.ndarray, np.generic)) or a.dtype == dtype:
            continue
        kind = a.dtype.kind
        if rule.takes(i):
            if kind in "biu" or (kind == "f" and a.dtype.itemsize < dtype.itemsize):
                found[i] = a.astype(dtype)
        elif kind in "iu" and (rule.derivatives is not None or rule.symmetric):
            found[i] = a.astype(np.int64)
    return found


def primal(x: Any) -> Any:
    """The value inside a box, under all derivatives; a recorded value stays as it is."""
    while isinstance(x, Box) and x.home.derives:
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
    given = c.shape
    extra = len(given) - len(shape)
    if extra == 1 and given[1:] == shape:
        return np.add.reduce(c, 0) if type(c) is np.ndarray else c.sum(0)
    ones = tuple(i + extra for i, n in enumerate(shape) if n == 1 and i + extra >= 0)
    ones = tuple(i for i in ones if given[i] != 1)
    if ones:
        c = c.sum(ones, keepdims=True)
    if extra > 0:
        c = c.sum(tuple(range(extra)))
    if c.shape == shape:
        return c
    if not isinstance(c, (np.ndarray, np.generic)):
        return np.broadcast_to(c, shape)
    spread = np.empty(shape, c.dtype)  # several times faster than numpy.broadcast_to
    spread[...] = c
    return spread
