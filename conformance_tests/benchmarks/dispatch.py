"""What a call of an operator costs beyond the derivative itself, in microseconds.

    python conformance_tests/benchmarks/dispatch.py [--rounds N] [--json FILE]

First the operators on the `Null` adapter, which computes nothing; then `ug.grad` on NumPy beside
the engine's own ``value_and_grad`` of the same function, in turns. The arguments are one array,
and a list and a dict of six. Exits with 1 where NumPy's overhead is above what is promised.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import unigrad as ug
from unigrad import engine
from unigrad.testing import Null

PROMISES = {"array": 6.0, "list of 6": 10.0, "dict of 6": 10.0}
_INNER = 500


def arguments() -> dict[str, Any]:
    """One array, and two containers of six."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((2, 16), (16,), (16, 16), (16,), (16, 3), (3,))]
    return {
        "array": arrays[1],
        "list of 6": arrays,
        "dict of 6": {f"w{k}": x for k, x in enumerate(arrays)},
    }


def lone(x: Any) -> Any:
    return (x * x).sum()


def listed(xs: Any) -> Any:
    a, b, c, d, e, f = xs
    return lone(a) + lone(b) + lone(c) + lone(d) + lone(e) + lone(f)


def named(xs: Any) -> Any:
    return listed(xs.values())


def microseconds(*contenders: Callable[[], Any], rounds: int) -> list[float]:
    """The median of each; they take turns."""
    times: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender()
    for _ in range(rounds):
        for found, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            for _ in range(_INNER):
                contender()
            found.append((time.perf_counter() - start) / _INNER * 1e6)
    return [statistics.median(found) for found in times]


def on_null(rounds: int) -> Iterator[dict[str, Any]]:
    """Operators that compute nothing."""
    null, one = Null(), np.float64(1.0)

    def constant(x: Any) -> Any:
        return one

    gradient = ug.grad(constant, backend=null)
    both = ug.value_and_grad(constant, backend=null)
    for name, x in arguments().items():
        calls: dict[str, Callable[[], Any]] = {
            "grad": lambda x=x: gradient(x),
            "value_and_grad": lambda x=x: both(x),
            "vjp": lambda x=x: ug.vjp(constant, x, backend=null),
            "jvp": lambda x=x: ug.jvp(constant, x, x, backend=null),
            "hvp": lambda x=x: ug.hvp(constant, x, x, backend=null),
        }
        for operator, took in zip(calls, microseconds(*calls.values(), rounds=rounds), strict=True):
            yield {"backend": "null", "operator": operator, "argument": name, "us": took}


def on_numpy(rounds: int) -> Iterator[dict[str, Any]]:
    """`ug.grad` less what the engine takes."""
    functions = dict(zip(PROMISES, (lone, listed, named), strict=True))
    for name, x in arguments().items():
        f = functions[name]
        flat = [x] if name == "array" else list(x.values() if name == "dict of 6" else x)
        gradient = ug.grad(f)

        def alone(*xs: Any) -> tuple[Any, ...]:
            return (lone(*xs) if len(xs) == 1 else listed(xs),)

        def native(flat: list[Any] = flat, alone: Any = alone) -> Any:
            return engine.value_and_grad(alone, flat)

        def ours(gradient: Any = gradient, x: Any = x) -> Any:
            return gradient(x)

        whole, inside = microseconds(ours, native, rounds=rounds)
        yield {
            "backend": "numpy",
            "operator": "grad",
            "argument": name,
            "us": whole - inside,
            "engine_us": inside,
            "promised_us": PROMISES[name],
        }


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    print(f"{'backend':<9}{'operator':<16}{'argument':<12}{'overhead µs':>12}{'promised':>10}")
    for rounds in (on_null(options.rounds), on_numpy(options.rounds)):
        for row in rounds:
            rows.append(row)
            promised = row.get("promised_us", "")
            print(
                f"{row['backend']:<9}{row['operator']:<16}{row['argument']:<12}"
                f"{row['us']:>12.1f}{promised:>10}"
            )
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))
    return int(any(row["us"] > row.get("promised_us", float("inf")) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
