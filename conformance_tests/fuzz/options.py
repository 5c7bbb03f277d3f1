"""What operands must be and which options an operation takes: data for `fuzz.programs`.

A requirement judges a value, given the operands before it; some know how to bring any value
into their domain, and how to make a fresh input. An option gives source text for the shape of
the first operand. Everything is chosen by a `Chooser`, so that Hypothesis can shrink it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["OPTIONS", "REQUIREMENTS", "Chooser", "Requirement", "fresh_shape", "pick"]

Chooser: TypeAlias = Callable[[int], int]
"""``choose(n)`` is one of ``0 .. n - 1``; smaller is simpler."""

Shape: TypeAlias = tuple[int, ...]


def pick(choose: Chooser, among: Sequence[Any]) -> Any:
    return among[choose(len(among))]


@dataclass(frozen=True)
class Requirement:
    """A word of the operation tables.

    Attributes:
        ok: whether a value meets it, given the earlier operands.
        coerce: source that brings a value of the right shape into the domain.
        shape: draws the shape of a fresh input, given the earlier operands.
        domain: brings entries of a fresh input into the domain.
    """

    ok: Callable[..., bool]
    coerce: str | None = None
    shape: Callable[..., Shape] | None = None
    domain: Callable[[Any], Any] | None = None


# ------------------------------------------------------------------------- shapes


def _dims(choose: Chooser, low: int, high: int, sizes: Sequence[int] = (2, 3, 1, 4)) -> Shape:
    return tuple(pick(choose, sizes) for _ in range(low + choose(high - low + 1)))


def fresh_shape(choose: Chooser) -> Shape:
    """Up to three axes, with size 1 now and then, and seldom size 0."""
    sizes = (2, 3, 1, 4) if choose(12) else (2, 0, 3)
    return _dims(choose, 0, 3, sizes)


def _beside(choose: Chooser, x: Any) -> Shape:
    shape = tuple(1 if choose(4) == 3 else n for n in x.shape)
    if choose(3) == 2:
        shape = shape[choose(len(shape) + 1) :]
    return (2, *shape) if len(shape) == x.ndim < 3 and choose(5) == 4 else shape


def _into(choose: Chooser, x: Any) -> Shape:
    shape = tuple(1 if choose(4) == 3 else n for n in x.shape)
    return shape[choose(len(shape) + 1) :] if choose(3) == 2 else shape


def _broadcasts(y: Any, x: Any, into: bool = False) -> bool:
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return shape == x.shape if into else True


def _after(choose: Chooser, x: Any) -> Shape:
    n, kind = x.shape[-1], choose(3)
    if kind == 0:
        return (n, 2)
    return (n,) if kind == 1 else (*x.shape[:-2], n, 3)


def _multiplies(y: Any, x: Any) -> bool:
    if y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        return False
    batches = x.shape[:-2], y.shape[:-2]
    return _broadcasts(np.empty(batches[0]), np.empty(batches[1]))


def _square(choose: Chooser, *_: Any) -> Shape:
    n = pick(choose, (2, 3, 1))
    return pick(choose, ((n, n), (n, n), (2, n, n)))


def _well_conditioned(x: Any) -> bool:
    return bool(np.all(np.linalg.cond(x) < 30)) if x.size else False


def _rows(choose: Chooser, x: Any) -> Shape:
    return pick(choose, ((x.shape[0],), (x.shape[0], 2)))


# ------------------------------------------------------------------------- domains


def _far(distance: float, *points: float) -> Callable[..., bool]:
    def ok(x: Any, *_: Any) -> bool:
        return all(bool(np.all(np.abs(x - p) > distance)) for p in points)

    return ok


def _from_multiples(step: float) -> Callable[..., bool]:
    def ok(x: Any, *_: Any) -> bool:
        return bool(np.all(np.abs(x / step - np.round(x / step)) > 0.06))

    return ok


def _apart(x: Any, *_: Any) -> bool:
    flat = np.sort(np.real(x).ravel())
    size = np.sort(np.abs(x).ravel())
    return bool(np.all(np.diff(flat) > 0.03)) and bool(np.all(np.diff(size) > 0.03))


def _spread(x: Any, *_: Any) -> bool:
    return x.size > 1 and all(
        bool(np.all(np.std(x, axis=i) > 0.1)) for i in [None, *range(x.ndim)] if x.ndim
    )


def _gaps(x: Any, *_: Any) -> bool:
    if x.ndim < 2 or 0 in x.shape:
        return False
    s = np.linalg.svd(x, compute_uv=False)
    return bool(np.all(s > 0.15)) and bool(np.all(np.abs(np.diff(s)) > 0.15))


def _spectrum(x: Any, *_: Any) -> bool:
    w = np.linalg.eigvals(x)
    return all(
        bool(np.all(np.abs(w[..., i] - w[..., j]) > 0.15))
        for i in range(w.shape[-1])
        for j in range(i)
    )


def _inside(low: float, high: float) -> Callable[..., bool]:
    def ok(x: Any, *_: Any) -> bool:
        return bool(np.all((np.real(x) > low) & (np.real(x) < high) & (np.abs(np.imag(x)) < 3)))

    return ok


def _modulus(y: Any, x: Any) -> bool:
    q = x / np.where(y == 0, np.nan, y)
    return bool(np.all(np.abs(q - np.round(q)) > 0.06))


def _octave(x: Any, *_: Any) -> bool:
    return _from_multiples(1.0)(np.log2(np.abs(x) + 1e-9))


REQUIREMENTS: dict[str, Requirement] = {
    "nd1": Requirement(lambda x, *_: x.ndim >= 1, shape=lambda choose, *_: _dims(choose, 1, 3)),
    "nd2": Requirement(lambda x, *_: x.ndim >= 2, shape=lambda choose, *_: _dims(choose, 2, 3)),
    "nd3": Requirement(lambda x, *_: x.ndim == 3, shape=lambda choose, *_: _dims(choose, 3, 3)),
    "vec": Requirement(lambda x, *_: x.ndim == 1, shape=lambda choose, *_: _dims(choose, 1, 1)),
    "mat": Requirement(lambda x, *_: x.ndim == 2, shape=lambda choose, *_: _dims(choose, 2, 2)),
    "few": Requirement(
        lambda x, *_: x.ndim <= 2 and x.size <= 6,
        shape=lambda choose, *_: _dims(choose, 0, 2, (2, 1, 3)),
    ),
    "flat": Requirement(lambda x, *_: x.ndim <= 2),
    "full": Requirement(lambda x, *_: x.size > 0),
    "long": Requirement(
        lambda x, *_: x.ndim > 0 and min(x.shape) > 1,
        shape=lambda choose, *_: _dims(choose, 1, 2, (2, 3, 4)),
    ),
    "square": Requirement(
        lambda x, *_: x.ndim >= 2 and x.shape[-1] == x.shape[-2] and _well_conditioned(x),
        shape=_square,
        domain=lambda x: x + 1.5 * np.eye(x.shape[-1]),
    ),
    "three": Requirement(
        lambda x, *_: x.ndim in (1, 2) and x.shape[-1] == 3,
        shape=lambda choose, *_: pick(choose, ((3,), (2, 3))),
    ),
    "like": Requirement(lambda y, x: y.shape == x.shape, shape=lambda choose, x: x.shape),
    "beside": Requirement(_broadcasts, shape=_beside),
    "into": Requirement(lambda y, x: _broadcasts(y, x, into=True), shape=_into),
    "after": Requirement(_multiplies, shape=_after),
    "back": Requirement(
        lambda y, x: y.shape == x.shape[::-1], shape=lambda choose, x: x.shape[::-1]
    ),
    "dotted": Requirement(
        lambda y, x: y.ndim > 0 and y.shape[-2 if y.ndim > 1 else 0] == x.shape[-1],
        shape=lambda choose, x: pick(choose, ((x.shape[-1],), (x.shape[-1], 2))),
    ),
    "last": Requirement(
        lambda y, x: y.ndim > 0 and y.shape[-1] == x.shape[-1],
        shape=lambda choose, x: pick(choose, ((x.shape[-1],), (2, x.shape[-1]))),
    ),
    "row": Requirement(lambda y, x: y.shape == x.shape[-1:], shape=lambda choose, x: x.shape[-1:]),
    "rows": Requirement(lambda y, x: y.ndim > 0 and y.shape[0] == x.shape[0], shape=_rows),
    "joined": Requirement(
        lambda y, x: y.ndim == x.ndim and y.shape[1:] == x.shape[1:],
        shape=lambda choose, x: (x.shape[0], *x.shape[1:]),
    ),
    "rhs": Requirement(
        lambda y, x: y.ndim == x.ndim and y.shape[:-1] == x.shape[:-1],
        shape=lambda choose, x: (*x.shape[:-1], 2),
    ),
    "real": Requirement(lambda x, *_: x.dtype.kind == "f", coerce="np.real({x}) - np.imag({x})"),
    "small": Requirement(_inside(-1.4, 1.4), "np.sin({x})", domain=lambda x: 0.8 * x),
    "pos": Requirement(
        _inside(0.15, 8.0),
        "0.4 + np.abs({x}) ** 2 / (1 + np.abs({x}))",
        domain=lambda x: x + 1.8,
    ),
    "unit": Requirement(_inside(-0.9, 0.9), "0.8 * np.sin({x})", domain=lambda x: 0.5 * x),
    "open01": Requirement(
        _inside(0.08, 0.92), "0.5 + 0.4 * np.sin({x})", domain=lambda x: 0.5 + 0.25 * x
    ),
    "gt1": Requirement(_inside(1.1, 9.0), "1.2 + {x} * np.conj({x})", domain=lambda x: 2.8 + x),
    "nonzero": Requirement(
        _far(0.06, 0.0),
        "{x} * {x} + 0.3",
        domain=lambda x: np.where(np.abs(x) < 0.1, x + 0.2, x),
    ),
    "clipped": Requirement(_far(0.05, 0.0, -0.5, 0.6, 0.5, -0.4, 0.8, -0.8, 3.0, -3.0)),
    "frac": Requirement(
        _from_multiples(0.35), "np.sin({x})", domain=lambda x: np.round(x / 0.7) * 0.7 + 0.1625
    ),
    "decimal": Requirement(
        lambda x, *_: bool(np.all(np.abs(np.real(x) * 10 % 1 - 0.5) > 0.1)),
        domain=lambda x: np.round(x * 10) / 10 + 0.015625,
    ),
    "octave": Requirement(_octave),
    "modulus": Requirement(_modulus),
    "modulus07": Requirement(_from_multiples(0.7)),
    "apart": Requirement(_apart),
    "away": Requirement(lambda y, x: bool(np.all(np.abs(x - y) > 0.04))),
    "spread": Requirement(_spread),
    "gaps": Requirement(_gaps),
    "spectrum": Requirement(_spectrum),
}


# ------------------------------------------------------------------------- options


def _axis(choose: Chooser, x: Any) -> int:
    i = choose(2 * x.ndim)
    return i if i < x.ndim else i - 2 * x.ndim


def _axes(choose: Chooser, x: Any) -> Any:
    kind = choose(3)
    if kind == 0:
        return None
    if kind == 1 or x.ndim < 2:
        return _axis(choose, x)
    first = choose(x.ndim)
    return (first, (first + 1) % x.ndim - x.ndim)


def _axis_or_none(choose: Chooser, x: Any) -> Any:
    return None if x.ndim == 0 or choose(3) == 0 else _axis(choose, x)


def _permutation(choose: Chooser, x: Any) -> tuple[int, ...]:
    left, order = list(range(x.ndim)), []
    while left:
        order.append(left.pop(choose(len(left))) - (x.ndim if choose(2) else 0))
    return tuple(order)


def _new_shape(choose: Chooser, x: Any) -> Any:
    n = x.size
    factors = [k for k in range(1, n + 1) if n % k == 0] or [1]
    k = pick(choose, factors)
    if n == 0:
        return (0, 2)
    return pick(choose, ((-1,), (k, n // k), (n // k, 1, k), (k, -1)))


def _index(choose: Chooser, x: Any) -> str:
    parts = []
    for n in x.shape[: 1 + choose(x.ndim)]:
        parts.append(pick(choose, (":", "1:", ":-1", "::-1", "::2", "-1" if n else ":", "0:1")))
    if choose(4) == 3:
        parts.insert(choose(len(parts) + 1), "None")
    if choose(4) == 3:
        parts.insert(0 if len(parts) == x.ndim else len(parts), "...")
    return ", ".join(parts)


def _fancy(choose: Chooser, x: Any) -> str:
    along = choose(x.ndim)
    n = x.shape[along]
    last = n - 1
    chosen = pick(choose, (f"[0, {last}]", f"[0, 0, {-n}]", f"[[{last}], [0]]", _bools(choose, n)))
    before = ", ".join([":"] * along)
    after = pick(choose, ("", ", ..."))
    if along + 1 < x.ndim and choose(3) == 2:
        after = pick(choose, (", ::-1", ", 0", ", None", ", [0]"))
    return (before + ", " if before else "") + chosen + after


def _bools(choose: Chooser, n: int) -> str:
    return repr([bool(choose(2)) for _ in range(n)])


def _mask(choose: Chooser, x: Any) -> str:
    flags = np.array([choose(2) == 0 for _ in range(x.size)], dtype=bool).reshape(x.shape)
    return f"np.array({flags.tolist()})"


def _one_of(*among: Any) -> Callable[[Chooser, Any], Any]:
    return lambda choose, x: repr(pick(choose, among))


OPTIONS: dict[str, Callable[[Chooser, Any], Any]] = {
    "axis": _axis,
    "axis2": _axis,
    "axes": _axes,
    "axis_or_none": _axis_or_none,
    "perm": _permutation,
    "shape": _new_shape,
    "index": _index,
    "fancy": _fancy,
    "mask": _mask,
    "flag": _one_of(False, True),
    "first": _one_of(0, 1),
    "k": _one_of(0, 1, -1),
    "n": _one_of(2, 1, 3),
    "c": _one_of(0.7, 1.5, 2.0),
    "ddof": _one_of(0, 1),
    "shift": _one_of(1, -1, 2, 5),
    "reps": _one_of(2, (2,), (1, 2), (2, 1, 1)),
    "pad": _one_of(1, (1, 2), ((0, 1),)),
    "padmode": _one_of("edge", "reflect", "symmetric", "wrap"),
    "takemode": _one_of("wrap", "clip"),
    "convmode": _one_of("full", "same", "valid"),
    "indexing": _one_of("xy", "ij"),
    "quantile": _one_of("linear", "lower", "higher", "midpoint", "hazen"),
    "norm": _one_of(None, "ortho", "forward"),
    "power": _one_of(2, 3, -1, -2, 0, 1),
    "uplo": _one_of("L", "U"),
    "vectorord": lambda choose, x: pick(choose, ("1", "3", "2", "np.inf", "-np.inf")),
    "matrixord": lambda choose, x: pick(
        choose, ("'fro'", "'nuc'", "2", "-2", "1", "-1", "np.inf", "-np.inf")
    ),
}
