"""`unigrad demo`: train on real digits with exact second derivatives, on every backend.

It shows the same numbers side by side, and checks them against a computation that contains no
derivative code; it fails if they part.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from unigrad.cli.console import ProgressBar, available, refuse
from unigrad.cli.demo.objective import Model
from unigrad.cli.demo.screen import (
    show_digits,
    show_function,
    show_missing,
    show_study,
    show_verdict,
)
from unigrad.cli.demo.study import Study, studies
from unigrad.data import digits

__all__ = ["run"]

LEARN = 1300


def run(console: Console, names: list[str] | None, plot: Path | None = None) -> int:
    """The demo on these backends, or all that are installed; the exit code.

    Raises:
        UsageError: for a backend that is unknown or missing, or ``plot`` without matplotlib.
    """
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        refuse("--plot draws with matplotlib, which is not installed; type: pip install matplotlib")
    began = time.perf_counter()
    with ProgressBar(console) as bar:
        bar(0, 1, "loading the frameworks")
        chosen, missing = available(names)
    data = digits()
    labels = data.labels.astype(np.int32)
    held_out = (data.images[LEARN:], labels[LEARN:])
    console.print(
        f"{len(labels):,} handwritten digits of 8 × 8 pixels: {LEARN:,} to learn from, "
        f"{len(labels) - LEARN} held out. All numbers are float64.\n"
        "Newton steps H d = -g by conjugate gradients: g by ug.value_and_grad, exact H v by ug.hvp."
    )
    show_function(console)
    models = [Model("logistic regression", (64, 10)), Model("neural network", (64, 32, 10))]
    with ProgressBar(console) as bar:
        found = list(studies(models, chosen, data.images[:LEARN], labels[:LEARN], bar))
    for study in found:
        show_study(console, study, held_out)
    best = found[-1]
    show_digits(console, best.model, best.runs[chosen[0]].path[-1].p, held_out)
    if plot is not None:
        _plot(found, plot)
        console.print(f"\nThe losses are drawn in {plot}", markup=False)
    console.print()
    agree = show_verdict(console, found, time.perf_counter() - began)
    show_missing(console, missing)
    return 0 if agree else 1


def _plot(found: Sequence[Study], file: Path) -> None:
    """Loss by step of each model, a line for each backend."""
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(9, 4), layout="tight")
    for k, study in enumerate(found):
        axes = figure.add_subplot(1, len(found), k + 1)
        for i, (name, run) in enumerate(study.runs.items()):
            losses = [iterate.loss for iterate in run.path]
            width = 2.0 * (len(study.runs) - i)  # wide below, thin above: all stay visible
            axes.plot(losses, label=f"{name}, {run.method}", linewidth=width)
        axes.set(title=study.model.name, xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
    figure.savefig(file, dpi=150)
