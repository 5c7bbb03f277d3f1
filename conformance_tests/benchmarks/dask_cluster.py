"""Gradient and Hessian product of data that no process ever holds, by two worker processes.

    python conformance_tests/benchmarks/dask_cluster.py [gigabytes [megabytes of a chunk]]

A logistic regression in plain NumPy over a Dask array that is drawn chunk by chunk, against
closed forms summed chunk by chunk; exits with 1 where they differ, or where the processes
together grow by more than `LIMIT` of the data.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

LIMIT = 0.4
COLUMNS = 50
RIDGE = 0.1


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        data: the size of the data in bytes.
        growth: of the client and its workers together, beyond what they held before, in bytes.
        seconds: of the computation.
        error: the largest relative one of value, gradient and Hessian product.
    """

    data: int
    growth: int
    seconds: float
    error: float


def loss(w: Any, X: Any, y: Any) -> Any:
    """A logistic regression in plain NumPy."""
    return np.mean(np.logaddexp(0.0, -y * (X @ w))) + 0.5 * RIDGE * np.sum(w**2)


def drawn(rows: int, block_info: Any = None) -> Any:
    """One chunk of the data, from a seed of its own."""
    place = block_info[None]["chunk-location"][0]
    return np.random.default_rng(place).standard_normal((rows, COLUMNS))


def labels(X: Any) -> Any:
    """-1 or 1 for each row."""
    return np.where(np.sin(X).sum(axis=1) > 0.3, 1.0, -1.0)


def closed_form(w: Any, v: Any, rows: int, chunks: int) -> tuple[float, Any, Any]:
    """Value, gradient and Hessian times ``v``, chunk by chunk, without any derivative of ours."""
    value, gradient, product = 0.0, np.zeros_like(w), np.zeros_like(w)
    for place in range(chunks):
        X = drawn(rows, block_info={None: {"chunk-location": (place, 0)}})
        y = labels(X)
        p = 1 / (1 + np.exp(y * (X @ w)))
        value += np.log1p(np.exp(-y * (X @ w))).sum()
        gradient -= X.T @ (y * p)
        product += X.T @ (p * (1 - p) * (X @ v))
    n = rows * chunks
    return value / n + 0.5 * RIDGE * w @ w, gradient / n + RIDGE * w, product / n + RIDGE * v


class Watch:
    """The most memory that some processes held together while it was on."""

    def __init__(self, processes: list[int]) -> None:
        import psutil

        self.processes = [psutil.Process(p) for p in processes]
        self.before = self.peak = self.held()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def held(self) -> int:
        return sum(p.memory_info().rss for p in self.processes)

    def look(self) -> None:
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.held())

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def run(gigabytes: float, chunk_megabytes: float = 20.0) -> Outcome:
    """Value, gradient and Hessian product in one computation on two worker processes."""
    import os

    import dask
    import dask.array as da
    from distributed import Client, LocalCluster

    import unigrad as ug

    rows = int(chunk_megabytes * 1e6 / (8 * COLUMNS))
    chunks = max(2, round(gigabytes * 1e3 / chunk_megabytes))
    shape = (rows * chunks, COLUMNS)
    X = da.map_blocks(drawn, rows, chunks=((rows,) * chunks, (COLUMNS,)), dtype=np.float64)
    y = X.map_blocks(labels, drop_axis=1, dtype=np.float64)
    w, v = np.sin(np.arange(1.0, COLUMNS + 1)), np.cos(np.arange(1.0, COLUMNS + 1))
    lazily = ug.value_grad_and_hvp(loss, (w, X, y), v)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        dask.compute(loss(w, X[:2], y[:2]), X.T[:, -2:])  # what the workers import is no data
        processes = [os.getpid(), *client.run(os.getpid).values()]
        started = time.perf_counter()
        with Watch(processes) as watch:
            results = dask.compute(*lazily)
        seconds = time.perf_counter() - started
    expected = closed_form(w, v, rows, chunks)
    error = max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(results, expected, strict=True)
    )
    return Outcome(8 * shape[0] * shape[1], watch.peak - watch.before, seconds, error)


if __name__ == "__main__":
    outcome = run(*map(float, sys.argv[1:3])) if len(sys.argv) > 1 else run(2.0)
    print(
        f"{outcome.data / 1e9:.2f} GB of data in {outcome.seconds:.1f} s; memory grew by "
        f"{outcome.growth / 1e9:.2f} GB ({outcome.growth / outcome.data:.0%}); "
        f"largest relative error {outcome.error:.1e}"
    )
    if outcome.growth > LIMIT * outcome.data or outcome.error > 1e-12:
        sys.exit(1)
