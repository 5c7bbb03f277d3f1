"""What docs/generate.py writes about MXNet: its operators, its wrong numbers, and a picture.

The operators are MXNet's whole registry, without the kernels of its own backward passes; what
becomes of each is read from the adapter's tables. It needs MXNet installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import unigrad as ug

ug.get_backend("mxnet")

import mxnet as mx  # noqa: E402

from unigrad_mxnet.operators import OPERATORS  # noqa: E402
from unigrad_mxnet.wrong_gradients import CONSTANT, WRONG, Wrong  # noqa: E402

__all__ = ["draw_curvature", "operators_page", "pitfalls", "refused_operators"]

Function = Callable[[Any], Any]
Rows = list[list[str]]

# -------------------------------------------------------------------- operators

EXACT, ZERO, REFUSED = "exact", "zero", "refused"

STRUCTURE = {
    "_CachedOp": "hybridized blocks: operator by operator",
    "_CachedOpThreadSafe": "hybridized blocks: operator by operator",
    "_CustomFunction": "`mx.autograd.Function`: its `forward` and `backward`, differentiated",
    "_foreach": "in hybridized blocks: step by step",
    "_cond": "in hybridized blocks: the branch that is taken",
}
"""Operators made of others, which `unigrad_mxnet.watching` takes apart."""

_BACKWARD = re.compile(r"backward|^_grad_add$|^_NDArray$|^_Native$|^_NoGradient$")
"""Kernels of MXNet's own derivatives, and entries of the registry that are no functions."""


@dataclass(frozen=True)
class Entry:
    """An operator of MXNet's registry.

    Attributes:
        aliases: its other names.
        arrays: whether it takes arrays; if not, it is a constant.
    """

    name: str
    aliases: tuple[str, ...]
    arrays: bool

    @property
    def derivative(self) -> str:
        if self.name in CONSTANT or not self.arrays:
            return ZERO
        return EXACT if self.name in OPERATORS or self.name in STRUCTURE else REFUSED

    @property
    def first_order(self) -> str:
        """Who computes a first derivative, and why."""
        if self.derivative == ZERO:
            return "–" if self.arrays else "– (it takes no arrays)"
        if self.name in STRUCTURE:
            return STRUCTURE[self.name]
        who = "unigrad's" if self.name in OPERATORS else "refused"
        cases = WRONG.get(self.name, ())
        reasons = dict.fromkeys(who + _star(case) + ": " + case.reason for case in cases)
        return "; ".join(reasons) or "MXNet's"


def _star(case: Any) -> str:
    """An asterisk where only some calls are affected."""
    return "" if case == Wrong(case.reason, case.instead) else " \\*"


def registry() -> list[Entry]:
    """MXNet's operators by name."""
    count, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    mx.base.check_call(mx.base._LIB.MXListAllOpNames(ctypes.byref(count), ctypes.byref(names)))
    known: dict[str, list[str]] = {}
    takes: dict[str, bool] = {}
    for name in sorted(_text(names[i]) for i in range(count.value)):
        canonical, kinds = _described(name)
        known.setdefault(canonical, []).append(name)
        takes[canonical] = any("NDArray" in kind for kind in kinds)
    return [
        Entry(name, tuple(a for a in aliases if a != name), takes[name] or name in STRUCTURE)
        for name, aliases in sorted(known.items(), key=lambda item: item[0].strip("_").lower())
        if _BACKWARD.search(name) is None
    ]


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _described(name: str) -> tuple[str, list[str]]:
    """The name under which an operator is registered, and the kinds of its arguments."""
    lib, handle = mx.base._LIB, ctypes.c_void_p()
    mx.base.check_call(lib.NNGetOpHandle(name.encode(), ctypes.byref(handle)))
    texts = ctypes.POINTER(ctypes.c_char_p)
    canonical, description, variable, result = (ctypes.c_char_p() for _ in range(4))
    count, arguments, kinds, notes = ctypes.c_uint(), texts(), texts(), texts()
    places = (canonical, description, count, arguments, kinds, notes, variable, result)
    mx.base.check_call(
        lib.MXSymbolGetAtomicSymbolInfo(handle, *[ctypes.byref(place) for place in places])
    )
    return _text(canonical.value), [_text(kinds[i]) for i in range(count.value)]


def operators_page(table: Callable[[list[str], Rows], str]) -> str:
    """The text of docs/mxnet_operators.md."""
    entries = registry()
    counts = {kind: sum(e.derivative == kind for e in entries) for kind in (EXACT, ZERO, REFUSED)}
    rows = []
    for entry in entries:
        names = f"`{entry.name}`"
        if entry.aliases:
            names += " (" + ", ".join(f"`{alias}`" for alias in entry.aliases) + ")"
        rows.append([names, entry.derivative, entry.first_order])
    return f"""# MXNet's operators

This page is written by `python docs/generate.py` from MXNet's registry and the adapter's tables;
do not edit it. MXNet {mx.__version__} has {len(entries)} operators beside the kernels of its own
backward passes:

* **exact** ({counts[EXACT]}): there is a translation into plain NumPy, which unigrad's engine
  differentiates to any order. A translation may refuse some of the operator's options; the error
  says which.
* **zero** ({counts[ZERO]}): the result is constant almost everywhere, or does not depend on an
  array, and has no derivative to lose.
* **refused** ({counts[REFUSED]}): a second or higher derivative through it, or `ug.jvp` and
  `ug.linearize`, raise `HigherOrderError` with its name, and your line where it is known.

The last column says whose first derivative `ug.grad` gives: MXNet's own (its own error where it
has none, as for the steps of optimizers), or unigrad's where MXNet's is wrong; with an asterisk,
for some modes, dtypes, shapes or inputs only. [Curvature of a Gluon network](curvature_gluon.md)
shows how it is used.

In parentheses are other names of an operator; `_np_`, `_npi_` and `_npx_` begin the operators of
`mx.np` and `mx.npx`.

{table(["operator", "derivatives", "first order"], rows)}
"""


def refused_operators() -> Rows:
    """Operators whose first derivative is refused, one row for each reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, cases in sorted(WRONG.items()):
        if name in OPERATORS:
            continue
        for case in cases:
            names = grouped.setdefault((case.reason, case.instead), [])
            names.append(f"`{name}`{_star(case)}")
    return [[", ".join(names), *why] for why, names in grouped.items()]


# -------------------------------------------------------------------- wrong numbers


@dataclass(frozen=True)
class Pitfall:
    """A function of which MXNet's own derivative is wrong, or an error.

    Attributes:
        title: how the table calls it.
        order: 1, the gradient of its sum; 2, the Hessian of its sum times ones.
        f: a function of one ``mx.np`` array, or of an ``mx.nd`` one.
    """

    title: str
    order: int
    f: Function
    point: Any
    is_np: bool = True


def _layer(x: Any) -> Any:
    return mx.nd.FullyConnected(x, mx.nd.ones((1, 2), dtype="float64"), num_hidden=1, no_bias=True)


class _Product(mx.autograd.Function):
    def forward(self, c: Any, x: Any) -> Any:
        self.save_for_backward(c, x)
        return c * x

    def backward(self, dy: Any) -> Any:
        c, x = self.saved_tensors
        return dy * x, dy * c


def _of_a_constant(x: Any) -> Any:
    return _Product()(mx.nd.full((1,), 3.0, dtype="float64"), x)


def _weighted(x: Any) -> Any:
    return x * mx.np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float64")


SQUARE = [[2.0, 0.0], [0.0, 4.0]]

PITFALLS = (
    Pitfall("`np.var(x)` at (1, 2, 4)", 1, lambda x: mx.np.var(x), [1.0, 2.0, 4.0]),
    Pitfall("`np.std(x)` at (1, 2, 4)", 1, lambda x: mx.np.std(x), [1.0, 2.0, 4.0]),
    Pitfall(
        "`np.percentile(x, 25)` at (1, 2, 4)",
        1,
        lambda x: mx.np.percentile(x, 25),
        [1.0, 2.0, 4.0],
    ),
    Pitfall(
        "`np.quantile(x, 0.25)` at (1, 2, 4)",
        1,
        lambda x: mx.np.quantile(x, 0.25),
        [1.0, 2.0, 4.0],
    ),
    Pitfall("`np.atleast_2d(x)` at (1, 2)", 1, lambda x: mx.np.atleast_2d(x), [1.0, 2.0]),
    Pitfall(
        "the first eigenvalue of `np.linalg.eigh` at diag(2, 4)",
        1,
        lambda x: mx.np.linalg.eigh(x)[0][0],
        SQUARE,
    ),
    Pitfall("`np.linalg.pinv(x)` at diag(2, 4)", 1, lambda x: mx.np.linalg.pinv(x), SQUARE),
    Pitfall(
        "`np.where(x > 0, x, 0.0)` at (1, -2)", 1, lambda x: mx.np.where(x > 0, x, 0.0), [1.0, -2.0]
    ),
    Pitfall(
        "`np.rot90(x) * [[1, 2], [3, 4]]`", 1, lambda x: _weighted(mx.np.rot90(x)), [[0.0] * 2] * 2
    ),
    Pitfall(
        '`LeakyReLU(x, act_type="selu")` at -1',
        1,
        lambda x: mx.nd.LeakyReLU(x, act_type="selu"),
        [-1.0],
        False,
    ),
    Pitfall("`prod(x)` at (0, 2, 3)", 1, lambda x: mx.nd.prod(x), [0.0, 2.0, 3.0], False),
    Pitfall("`x**0` at (0, 2)", 1, lambda x: x**0, [0.0, 2.0], False),
    Pitfall(
        "an `autograd.Function` of (constant 3, x) that multiplies", 1, _of_a_constant, [2.0], False
    ),
    Pitfall("`x * x` at (1, 2)", 2, lambda x: x * x, [1.0, 2.0], False),
    Pitfall("`3 * x` at (1, 2)", 2, lambda x: 3.0 * x, [1.0, 2.0], False),
    Pitfall("`x.sum()` squared at (1, 2)", 2, lambda x: x.sum() ** 2, [1.0, 2.0], False),
    Pitfall(
        '`Activation(x, act_type="tanh")` at (1, 2)',
        2,
        lambda x: mx.nd.Activation(x, act_type="tanh"),
        [1.0, 2.0],
        False,
    ),
    Pitfall(
        "`exp(FullyConnected(x))`, weight (1, 1), at (1, 2)",
        2,
        lambda x: mx.nd.exp(_layer(x)),
        [[1.0, 2.0]],
        False,
    ),
    Pitfall(
        "`exp(clip(x, -3, 3))` at (1, 2)",
        2,
        lambda x: mx.nd.exp(mx.nd.clip(x, -3, 3)),
        [1.0, 2.0],
        False,
    ),
    Pitfall(
        "`exp(radians(x))` at (1, 2)",
        2,
        lambda x: mx.nd.exp(mx.nd.radians(x)),
        [1.0, 2.0],
        False,
    ),
    Pitfall("`arcsinh(x)` at (1, 2)", 2, lambda x: mx.nd.arcsinh(x), [1.0, 2.0], False),
    Pitfall("`arccosh(x)` at (2, 3)", 2, lambda x: mx.nd.arccosh(x), [2.0, 3.0], False),
)


def pitfalls() -> Rows:
    """For each of `PITFALLS`: its title and order, MXNet's own number, the adapter's."""
    rows = []
    for case in PITFALLS:
        x = ug.asarray(np.array(case.point), backend="mxnet")
        x = x if case.is_np else x.as_nd_ndarray()
        rows.append([case.title, str(case.order), _native(case, x), _numbers(_adapted(case, x))])
    return rows


def _adapted(case: Pitfall, x: Any) -> Any:
    def total(x: Any) -> Any:
        return case.f(x).sum()

    return ug.grad(total)(x) if case.order == 1 else ug.hvp(total, x, mx.nd.ones_like(x))


def _native(case: Pitfall, x: Any) -> str:
    x = x.copy()
    x.attach_grad()
    try:
        with mx.util.np_shape(case.is_np), mx.util.np_array(case.is_np), mx.autograd.record():
            y = case.f(x)
            if case.order == 2:
                (y,) = mx.autograd.grad(y, [x], create_graph=True, retain_graph=True)
            y.backward()
        return _numbers(x.grad)
    except mx.MXNetError as error:
        # An operator's name, from the last line: "Operator _backward_... is non-differentiable".
        found = re.search(r"Operator (\w+) is non-differentiable", str(error))
        return "error: no derivative of " + f"`{found[1]}`" if found else "error: an empty graph"


def _numbers(x: Any) -> str:
    return " ".join(f"{value + 0.0:.6g}" for value in np.ravel(ug.to_numpy(x)))


# -------------------------------------------------------------------- the picture


def draw_curvature(page: Path, picture: Path) -> None:
    """Run the page's examples up to its picture, and draw what they have computed."""
    from matplotlib.figure import Figure

    text = page.read_text(encoding="utf-8").partition("![")[0]
    known: dict[str, Any] = {}
    for source in re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, str(page), "exec"), known)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(known["steps"], known["along"], color="#1f4e79", lw=2, label="loss")
    label = f"quadratic, curvature {known['curvature']:.3f}"
    axes.plot(known["steps"], known["quadratic"], color="#c8102e", ls="--", lw=1.5, label=label)
    axes.plot([0.0], [known["along"][40]], "o", color="black", ms=5, label="trained weights")
    axes.set(xlabel="step along the Hessian's top eigenvector", ylabel="loss", ylim=(0.0, None))
    _free(axes.spines, ("top", "right"))
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=120, metadata={"Software": None})


def _free(spines: Any, sides: Iterable[str]) -> None:
    for side in sides:
        spines[side].set_visible(False)
