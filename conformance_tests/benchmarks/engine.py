"""Derivatives of plain NumPy code, as multiples of the same derivative written by hand.

    python conformance_tests/benchmarks/engine.py [--only WORD] [--quick] [--json FILE]

One process pinned to one core, timed by its processor time, which other load changes little; the
contenders take turns, and a ratio is the median over turns.
All must first agree with the hand-written NumPy of `engine_programs`, or nothing is measured.
HIPS autograd, torch and JAX take part where they are installed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ.pop("OPENBLAS_CORETYPE", None)  # a foreign kernel halves the speed of matrix products
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from engine_programs import PROGRAMS, Program, mlp
from rich.console import Console
from rich.table import Table

import unigrad as ug
from unigrad import engine

Call = Callable[[], Any]
GRADIENT = "hand gradient"
TOLERANCE = {"float64": 1e-9, "float32": 2e-3}


def leaves(w: Any) -> list[Any]:
    """The arrays of a list, or the lone array."""
    return w if isinstance(w, list) else [w]


def like(w: Any, arrays: Any) -> Any:
    """Arrays as the function takes them."""
    return list(arrays) if isinstance(w, list) else arrays[0]


def moved(program: Program, asarray: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    """The weights and the constants in another framework's arrays."""
    constants = {
        k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in program.constants.items()
    }
    return like(program.w, [asarray(x) for x in leaves(program.w)]), constants


def direction(program: Program) -> Any:
    """What the Hessian is multiplied by."""
    rng = np.random.default_rng(7)
    return like(program.w, [rng.normal(size=x.shape).astype(x.dtype) for x in leaves(program.w)])


# ---------------------------------------------------------------- contenders


def numpy_contenders(program: Program) -> Iterator[tuple[str, str, Call]]:
    """(derivative, contender, call) of NumPy by hand and of unigrad."""
    c, w = program.constants, program.w

    def loss(x: Any) -> Any:
        return program.loss(np, c, x)

    def flat(*xs: Any) -> tuple[Any]:
        return (loss(like(w, xs)),)

    def alone() -> Any:
        return engine.value_and_grad(flat, leaves(w))[1]

    jits = ug.get_backend("numpy").capabilities.jit
    yield "grad", "hand", lambda: program.hand(c, w)
    gradient = ug.grad(loss)
    yield "grad", "ug.grad", lambda: gradient(w)
    yield "grad", "engine", alone
    if jits:
        jitted = ug.jit(ug.grad(loss))
        yield "grad", "ug.jit", lambda: jitted(w)
    if program.product is None:
        return
    product, v = program.product, direction(program)
    yield "hvp", "hand", lambda: product(c, w, v)
    yield "hvp", "ug.hvp", lambda: ug.hvp(loss, w, v)
    if jits:
        jitted_product = ug.jit(lambda x, u: ug.hvp(loss, x, u))
        yield "hvp", "ug.jit", lambda: jitted_product(w, v)
    if "linearize" in ug.__all__:
        _, reused = vars(ug)["linearize"](ug.grad(loss), w)
        yield "hvp", "reused", lambda: reused(v)


def hips_contenders(program: Program) -> Iterator[tuple[str, str, Call]]:
    import autograd
    import autograd.numpy as anp

    c, w = program.constants, program.w
    positions = tuple(range(len(leaves(w))))

    def loss(*xs: Any) -> Any:
        return program.loss(anp, c, like(w, xs))

    gradient = autograd.grad(loss, positions)
    yield "grad", "HIPS", lambda: gradient(*leaves(w))
    if program.product is None:
        return
    v = leaves(direction(program))

    def slope(*xs: Any) -> Any:
        return sum(anp.sum(g * u) for g, u in zip(gradient(*xs), v, strict=True))

    product = autograd.grad(slope, positions)
    yield "hvp", "HIPS", lambda: product(*leaves(w))


def torch_contenders(program: Program) -> Iterator[tuple[str, str, Call]]:
    import torch

    torch.set_num_threads(1)
    w, c = moved(program, torch.asarray)

    def tracked() -> list[Any]:
        return [x.detach().requires_grad_() for x in leaves(w)]

    def gradient() -> Any:
        xs = tracked()
        return torch.autograd.grad(program.loss(torch, c, like(w, xs)), xs)

    yield "grad", "torch", gradient
    if program.product is None:
        return
    v = [torch.asarray(u) for u in leaves(direction(program))]

    def product() -> Any:
        xs = tracked()
        value = program.loss(torch, c, like(w, xs))
        return torch.autograd.grad(torch.autograd.grad(value, xs, create_graph=True), xs, v)

    yield "hvp", "torch", product


def jax_contenders(program: Program) -> Iterator[tuple[str, str, Call]]:
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    w, c = moved(program, jax.numpy.asarray)

    def loss(x: Any) -> Any:
        if program.jax_loss is not None:
            return program.jax_loss(c, x)
        return program.loss(jax.numpy, c, x)

    gradient = jax.jit(jax.grad(loss))
    yield "grad", "jax.jit", lambda: jax.block_until_ready(gradient(w))
    if program.product is None:
        return
    v = like(w, [jax.numpy.asarray(u) for u in leaves(direction(program))])
    product = jax.jit(lambda x, u: jax.jvp(jax.grad(loss), (x,), (u,))[1])
    yield "hvp", "jax.jit", lambda: jax.block_until_ready(product(w, v))


FRAMEWORKS = {"autograd": hips_contenders, "torch": torch_contenders, "jax": jax_contenders}


def contenders(program: Program) -> dict[str, dict[str, Call]]:
    """Of each derivative, the calls of all who take part; the hand-written one is the first."""
    found: dict[str, dict[str, Call]] = {}
    sources = [numpy_contenders]
    sources += [s for module, s in FRAMEWORKS.items() if importlib.util.find_spec(module)]
    for source in sources:
        for derivative, contender, call in source(program):
            found.setdefault(derivative, {})[contender] = call
    return found


# ---------------------------------------------------------------- measuring


def require_agreement(program: Program, calls: dict[str, Call]) -> None:
    """Stop where a contender's numbers or dtypes differ from those by hand."""
    expected = leaves(calls["hand"]())
    for contender, call in calls.items():
        got = call()
        got = list(got) if isinstance(got, (list, tuple)) else [got]
        for x, y in zip(got, expected, strict=True):
            x = np.asarray(x)
            tolerance = TOLERANCE[y.dtype.name]
            where = f"{program.name}: {contender}"
            assert x.dtype == y.dtype, f"{where} gives {x.dtype}, not {y.dtype}"
            scale = float(np.max(np.abs(y)))
            np.testing.assert_allclose(x, y, tolerance, tolerance * scale, err_msg=where)


def blocks(calls: dict[str, Call], seconds: float) -> dict[str, list[float]]:
    """Microseconds of each call in each round; in a round the contenders take turns."""
    inner = {}
    for contender, call in calls.items():
        call()
        start = time.process_time()
        call()
        inner[contender] = max(1, int(5e-3 / max(time.process_time() - start, 1e-7)))
    times: dict[str, list[float]] = {contender: [] for contender in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(times["hand"]) < 5:
        for contender, call in calls.items():
            start = time.process_time()
            for _ in range(inner[contender]):
                call()
            times[contender].append(1e6 * (time.process_time() - start) / inner[contender])
    return times


def multiples(times: dict[str, list[float]], base: str) -> dict[str, float]:
    """Medians of the multiples of one contender's time in the same round."""
    return {
        contender: statistics.median(t / b for t, b in zip(own, times[base], strict=True))
        for contender, own in times.items()
        if contender not in (base, GRADIENT)
    }


def measure(program: Program, seconds: float) -> Iterator[dict[str, Any]]:
    """One row of numbers for each derivative of the program."""
    for derivative, calls in contenders(program).items():
        require_agreement(program, calls)
        if derivative == "hvp":
            calls[GRADIENT] = functools.partial(program.hand, program.constants, program.w)
        times = blocks(calls, seconds)
        yield {
            "program": program.name,
            "derivative": derivative,
            "us": {contender: statistics.median(own) for contender, own in times.items()},
            "hand": multiples(times, "hand"),
            "gradient": multiples(times, GRADIENT) if derivative == "hvp" else {},
        }


def memory(program: Program) -> dict[str, float]:
    """MB that reverse mode holds at its peak, beside torch's saved tensors."""
    c, w = program.constants, program.w

    def flat(*xs: Any) -> tuple[Any]:
        return (program.loss(np, c, like(w, xs)),)

    tracemalloc.start()
    outputs, pullback = engine.vjp(flat, leaves(w))
    held = tracemalloc.get_traced_memory()[0]
    del outputs, pullback
    tracemalloc.reset_peak()
    ug.grad(lambda x: program.loss(np, c, x))(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    program.hand(c, w)
    by_hand = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = {"tape": held, "peak": peak, "hand peak": by_hand}
    if importlib.util.find_spec("torch"):
        found["torch saved"] = torch_saved(program)
    return {k: b / 1e6 for k, b in found.items()}


def torch_saved(program: Program) -> int:
    """Bytes of the tensors that torch saves for the way back, its arguments not counted."""
    import torch

    w, c = moved(program, torch.asarray)
    xs = [x.detach().requires_grad_() for x in leaves(w)]
    given = {t.data_ptr() for t in [*xs, *(t for t in c.values() if isinstance(t, torch.Tensor))]}
    saved: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        if tensor.data_ptr() not in given:
            saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = program.loss(torch, c, like(w, xs))
    del value
    return sum(saved.values())


# ---------------------------------------------------------------- reporting


def kernel() -> str:
    """Which BLAS NumPy multiplies matrices with, and for which processor."""
    if importlib.util.find_spec("threadpoolctl"):
        import threadpoolctl

        for library in threadpoolctl.threadpool_info():
            if library["user_api"] == "blas" and "numpy" in library["filepath"]:
                return f"{library['internal_api']} {library['version']} {library['architecture']}"
    blas: dict[str, Any] = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def print_table(console: Console, title: str, rows: list[dict[str, Any]], unit: str) -> None:
    """One row a program, one column a contender."""
    columns = list(dict.fromkeys(c for row in rows for c in row[unit]))
    if not columns:
        return
    table = Table(title=title)
    table.add_column("program")
    for column in ("by hand, µs", *columns):
        table.add_column(column, justify="right")
    for row in rows:
        ratios = [f"{row[unit][c]:.2f}" if c in row[unit] else "–" for c in columns]
        table.add_row(row["program"], f"{row['us']['hand']:.0f}", *ratios)
    console.print(table)


TITLES = (
    ("grad", "hand", "gradient: multiples of hand-written NumPy"),
    ("hvp", "hand", "Hessian-vector product: multiples of a hand-written R-operator"),
    ("hvp", "gradient", "Hessian-vector product: multiples of a hand-written gradient"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="programs whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="short, without the large network")
    parser.add_argument("--json", help="write the numbers into this file")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    console = Console(width=max(Console().width, 110))
    console.print(f"NumPy {np.__version__}, {kernel()}, Python {sys.version.split()[0]}, one core")
    rows: list[dict[str, Any]] = []
    for program in PROGRAMS:
        if options.only.lower() in program.name.lower() and not (options.quick and program.heavy):
            rows += measure(program, 0.1 if options.quick else 0.5)
    for derivative, unit, title in TITLES:
        print_table(console, title, [r for r in rows if r["derivative"] == derivative], unit)
    held = {}
    if options.only.lower() in "memory":
        held = memory(mlp("memory", (784, 1024, 1024, 10), 2048, "float32"))
        console.print("reverse mode, MLP 784-1024-1024-10, batch 2048, float32, in MB:")
        for what, megabytes in held.items():
            times = megabytes / held.get("torch saved", megabytes)
            console.print(f"    {what:<12}{megabytes:8.1f}{times:8.2f} × torch's saved tensors")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"blas": kernel(), "rows": rows, "memory_mb": held}, file, indent=2)


if __name__ == "__main__":
    main()
