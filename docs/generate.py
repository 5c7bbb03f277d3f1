"""Writes what is measured or declared elsewhere: docs/kinks.md, and tables of other pages.

``python docs/generate.py`` runs on the installed frameworks and needs all five;
with ``--declared`` only what adapters declare is looked at. ``--check`` writes nothing and fails
where a file is out of date. ``--pictures`` draws with matplotlib. MXNet's: `generate_mxnet`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import unigrad as ug
from unigrad import ops
from unigrad.cli.tables import capability_table

ROOT = Path(__file__).resolve().parents[1]
KINKS = ROOT / "docs" / "kinks.md"
README = ROOT / "README.md"
BACKENDS = ROOT / "docs" / "backends.md"
MXNET_OPERATORS = ROOT / "docs" / "mxnet_operators.md"
CURVATURE = ROOT / "docs" / "curvature_gluon.md"

TITLES = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
    "mxnet": "MXNet",
}

Function = Callable[..., Any]


@dataclass(frozen=True)
class Probe:
    """A function at a point where its derivative does not exist, or is 0/0 if written plainly.

    Attributes:
        title: how the table calls it.
        point: the values of its arguments; each is differentiated.
        ops: the pinned function of `unigrad.ops`.
        native: the frameworks' own functions, by backend, as functions of the framework's module.
    """

    title: str
    point: tuple[Any, ...]
    ops: Function
    native: Mapping[str, Callable[[Any], Function]]


def everywhere(name: str, **options: Any) -> dict[str, Callable[[Any], Function]]:
    """The function of this name in the namespace of each framework."""
    return {backend: lambda m: lambda *xs: getattr(m, name)(*xs, **options) for backend in TITLES}


def _safe_log(x: Any) -> Any:
    return ops.where(x > 0, ug.array_namespace(x).log, 0.0, x)


def _log_where(m: Any) -> Function:
    return lambda x: m.where(x > 0, m.log(x), m.zeros_like(x))


PROBES = (
    Probe("`abs` at 0", (0.0,), ops.abs, everywhere("abs")),
    Probe(
        "`relu` at 0",
        (0.0,),
        ops.relu,
        {
            "torch": lambda m: m.relu,
            "tensorflow": lambda m: m.nn.relu,
            "jax": lambda m: _jax().nn.relu,
            "mxnet": lambda m: _mxnet().npx.relu,
        },
    ),
    Probe(
        "`leaky_relu` at 0, slope 0.1",
        ([0.0],),
        lambda x: ops.leaky_relu(x, 0.1),
        {
            "torch": lambda m: lambda x: m.nn.functional.leaky_relu(x, 0.1),
            "tensorflow": lambda m: lambda x: m.nn.leaky_relu(x, 0.1),
            "jax": lambda m: lambda x: _jax().nn.leaky_relu(x, 0.1),
            "mxnet": lambda m: lambda x: _mxnet().npx.leaky_relu(x, slope=0.1),
        },
    ),
    Probe("`maximum(x, y)`, x = y", (1.0, 1.0), ops.maximum, everywhere("maximum")),
    Probe(
        "`max` of [1, 1, 0]",
        ([1.0, 1.0, 0.0],),
        ops.max,
        {
            **everywhere("max"),
            "torch": lambda m: m.amax,
            "tensorflow": lambda m: m.reduce_max,
        },
    ),
    *(
        Probe(
            f"`clip(x, 0, 1)` at {at:.0f}",
            (at,),
            lambda x: ops.clip(x, 0.0, 1.0),
            {
                "numpy": lambda m: lambda x: m.clip(x, 0.0, 1.0),
                "torch": lambda m: lambda x: m.clip(x, 0.0, 1.0),
                "tensorflow": lambda m: lambda x: m.clip_by_value(x, 0.0, 1.0),
                "jax": lambda m: lambda x: m.clip(x, 0.0, 1.0),
                "mxnet": lambda m: lambda x: m.clip(x, 0.0, 1.0),
            },
        )
        for at in (0.0, 1.0)
    ),
    Probe(
        "`norm` of [0, 0]",
        ([0.0, 0.0],),
        ops.norm,
        {
            **{backend: lambda m: m.linalg.norm for backend in TITLES},
            "tensorflow": lambda m: m.norm,
        },
    ),
    Probe(
        "`std` of [1, 1]",
        ([1.0, 1.0],),
        ops.std,
        {
            **everywhere("std"),
            "torch": lambda m: lambda x: m.std(x, correction=0),
            "tensorflow": lambda m: m.math.reduce_std,
        },
    ),
    Probe(
        "`power(x, y)` at (0, 0)",
        (0.0, 0.0),
        ops.power,
        {**everywhere("power"), "torch": lambda m: m.pow, "tensorflow": lambda m: m.pow},
    ),
    *(
        Probe(
            f"`prod` of {values}".replace(".0", ""),
            (values,),
            ops.prod,
            {**everywhere("prod"), "tensorflow": lambda m: m.reduce_prod},
        )
        for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0])
    ),
    Probe(
        "`atan2(y, x)` at (0, 0)",
        (0.0, 0.0),
        ops.atan2,
        {
            **everywhere("arctan2"),
            "torch": lambda m: m.atan2,
            "tensorflow": lambda m: m.atan2,
        },
    ),
    Probe(
        "`where(x > 0, log(x), 0)` at 0",
        (0.0,),
        _safe_log,
        {
            **dict.fromkeys(TITLES, _log_where),
            "tensorflow": lambda m: lambda x: m.where(x > 0, m.math.log(x), m.zeros_like(x)),
        },
    ),
)


def _jax() -> Any:
    import jax

    return jax


def _mxnet() -> Any:
    import mxnet

    return mxnet


def framework(backend: str) -> Any:
    """The module whose functions count as the framework's own."""
    ug.get_backend(backend)
    if backend == "mxnet":
        return _mxnet().np
    if backend == "jax":
        return _jax().numpy
    return __import__({"numpy": "numpy", "torch": "torch", "tensorflow": "tensorflow"}[backend])


def measured(f: Function, point: tuple[Any, ...], backend: str) -> str:
    """The derivative by each argument, as the table shows it."""
    arguments = [ug.asarray(np.array(x), backend=backend) for x in point]
    try:
        with np.errstate(all="ignore"):
            grads = ug.grad(f, argnums=tuple(range(len(point))), reduce="sum")(*arguments)
    except (ug.errors.UnsupportedError, ug.errors.HigherOrderError):
        return "refused"
    entries = np.concatenate([np.ravel(ug.to_numpy(g)) for g in grads])
    return " ".join(f"{x + 0.0:.6g}" for x in entries)


def kink_rows(backends: list[str]) -> list[list[str]]:
    """For each probe: its title, what each backend's own function gives, what the ops give.

    Raises:
        AssertionError: if the ops of two backends differ.
    """
    rows = []
    for probe in PROBES:
        cells = []
        for backend in backends:
            native = probe.native.get(backend)
            if native is None:
                cells.append("–")
            else:
                cells.append(measured(native(framework(backend)), probe.point, backend))
        pinned = {backend: measured(probe.ops, probe.point, backend) for backend in backends}
        assert len(set(pinned.values())) == 1, f"{probe.title}: {pinned}"
        rows.append([probe.title, *cells, pinned[backends[0]]])
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def versions() -> str:
    """The frameworks and their versions in words."""
    infos = ug.backends()
    # "2.13.0+cpu" is 2.13.0 from another index.
    found = {title: str(infos[name].version).partition("+")[0] for name, title in TITLES.items()}
    return ", ".join(f"{title} {version}" for title, version in found.items())


def kinks_page() -> str:
    """The text of docs/kinks.md."""
    head = ["derivative of", *TITLES.values(), "`unigrad.ops`"]
    return f"""# Kinks: where the frameworks differ

This page is written by `python docs/generate.py`; do not edit it. Measured with
{versions()}.

A kink is a point where a function has no derivative, or where the formula for it is 0/0 or 0 · ∞.
Frameworks choose differently there, and `ug.grad` of a framework's own function keeps the
framework's choice. The functions of `unigrad.ops` have one rule on every backend (S18); each rule
is in the function's docstring.

A cell holds `ug.grad` of the framework's own function in float64, one number for each entry of the
arguments. "–": the framework has no such function. "refused": the adapter raises an error, because
the framework's own derivative is wrong near this point too ([backends](backends.md#mxnet)).

{table(head, kink_rows(list(TITLES)))}

`ops.max(x, ties="split")` and `ops.maxout(..., ties="split")` share the derivative equally among
equal entries: 0.5 0.5 0 for [1, 1, 0]. The native `where` gives NaN because the derivative of the
branch that is not taken, 1/0, is multiplied by 0; `ops.where(x > 0, xp.log, 0.0, x)` evaluates that
branch at a harmless point instead. `ops.sqrt` has the infinite slope at 0 that the mathematics
gives; only undefined derivatives are pinned.
"""


def with_table(page: Path, name: str, text: str) -> str:
    """The page with a table between its markers."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"{page.name} has no {begin} ... {end}"
    return f"{before}{begin}\n{text.rstrip()}\n{end}{after}"


def declared_pages() -> dict[Path, str]:
    """Pages with tables of what adapters declare; MXNet's only where it is installed."""
    pages = {README: with_table(README, "capabilities", capability_table())}
    if ug.backends()["mxnet"].installed:
        of_mxnet = importlib.import_module("generate_mxnet")
        refused = table(["operator", "why", "instead"], of_mxnet.refused_operators())
        pages[BACKENDS] = with_table(BACKENDS, "mxnet", refused)
        pages[MXNET_OPERATORS] = of_mxnet.operators_page(table)
        measured = table(["function", "order", "MXNet's own", "unigrad"], of_mxnet.pitfalls())
        pages[CURVATURE] = with_table(CURVATURE, "pitfalls", measured)
    return pages


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` compare them."""
    if "--pictures" in arguments:
        of_mxnet = importlib.import_module("generate_mxnet")
        of_mxnet.draw_curvature(CURVATURE, CURVATURE.with_suffix(".png"))
    pages = declared_pages()
    if "--declared" not in arguments:
        pages[KINKS] = kinks_page()
    stale = {
        path: text
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    names = ", ".join(path.name for path in stale) or "nothing"
    if "--check" in arguments:
        print(f"out of date: {names}")
        return len(stale)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    print(f"written: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
