"""The long run of the fuzzer, in several processes.

    python -m conformance_tests.fuzz --programs 10000 --seed 1 --jobs 2

Ends with 1 if anything disagreed; each disagreement is printed as the source that reproduces it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PORTION = 100
"""Programs that a process checks before it reports."""


def single_threaded() -> None:
    """One thread for each process; frameworks keep off the accelerators."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m conformance_tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--programs", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--frameworks",
        type=int,
        default=3,
        metavar="N",
        help="torch looks at one program in N, JAX at one in 10 N; 0: none (default 3)",
    )
    options = parser.parse_args()
    single_threaded()

    from conformance_tests.fuzz.operations import OPERATIONS
    from conformance_tests.fuzz.run import Summary, portion

    tasks = [
        (
            min(PORTION, options.programs - start),
            options.seed * 1_000_003 + start,
            options.frameworks,
        )
        for start in range(0, options.programs, PORTION)
    ]
    total, console, began = Summary(), Console(), time.perf_counter()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    context = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        context.Pool(options.jobs) as pool,
    ):
        bar = progress.add_task("programs", total=options.programs)
        for found, task in zip(pool.imap(portion, tasks), tasks, strict=True):
            total.add(found)
            progress.update(
                bar,
                advance=task[0],
                description=f"programs, {sum(total.disagreements.values())} disagreements",
            )

    for key, count in total.disagreements.most_common():
        console.rule(f"{count} × {key}", align="left")
        console.print(total.shortest[key], markup=False, highlight=False, soft_wrap=True)
    table = Table(title=f"{total.built} programs in {time.perf_counter() - began:.0f} s")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("rejected: a kink or an ill-conditioned point is near", str(total.rejected))
    table.add_row("nothing could be built", str(total.unbuildable))
    table.add_row("operations covered", f"{len(total.operations)} of {len(OPERATIONS)}")
    for oracle, count in total.compared.most_common():
        table.add_row(f"compared: {oracle}", str(count))
    table.add_row("disagreements", str(sum(total.disagreements.values())))
    console.print(table)
    return 1 if total.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
