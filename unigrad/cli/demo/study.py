"""One model of the demo on every backend: each trains, and all answer at the same points."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from unigrad.cli.demo.agreement import (
    Probe,
    difference,
    direction,
    probe,
    top_eigenvalue,
)
from unigrad.cli.demo.objective import Model, Objective, Vector
from unigrad.cli.demo.oracle import taylor
from unigrad.cli.demo.training import METHODS, Iterate, train

__all__ = ["Check", "Report", "Run", "Study", "studies"]

Report: TypeAlias = "Callable[[int, int, str], None]"

STEPS = {True: 25, False: 100}
"""Most steps of training, by whether the backend has second order."""
SHARED = 6
"""Points of the reference path, after the start, at which backends are compared: early ones,
because where the gradient vanishes only rounding is left to compare."""
POWER_ITERATIONS = 10


@dataclass(frozen=True)
class Run:
    """A backend's own training."""

    path: list[Iterate]
    seconds: float
    method: str


@dataclass(frozen=True)
class Check:
    """A number by unigrad, and the same without any derivative code."""

    name: str
    got: float
    expected: float

    @property
    def difference(self) -> float:
        """The relative difference."""
        return difference(self.got, self.expected)


@dataclass(frozen=True)
class Study:
    """What was found about one model, by backend.

    Attributes:
        points: the start and the next points of the first backend's path.
        answers: at the points.
        eigenvalues: an estimate of the Hessian's largest at the last of them.
        checks: of the first backend, at the last of them.
    """

    model: Model
    points: list[Vector] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    answers: dict[str, list[Probe]] = field(default_factory=dict)
    eigenvalues: dict[str, float | None] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def parting(self, one: str, two: str) -> float:
        """The largest relative difference of any answer of two backends at any point."""
        gaps = [difference(self.eigenvalues[one], self.eigenvalues[two])]
        for p, q in zip(self.answers[one], self.answers[two], strict=True):
            gaps.append(difference(p.loss, q.loss))
            gaps.append(difference(p.gradient, q.gradient))
            gaps.append(difference(p.product, q.product))
            gaps.append(difference(p.curvature, q.curvature))
        return float(np.max(gaps))  # of NumPy, so that a NaN is not lost


def studies(
    models: Sequence[Model], names: Sequence[str], images: Vector, labels: Vector, report: Report
) -> Iterator[Study]:
    """A study of each model on these backends; ``report`` gets done, in all, what is running."""
    total = len(models) * len(names)
    done = itertools.count()
    for model in models:
        study = Study(model)
        for name in names:
            tell = functools.partial(_tell, report, next(done), total, f"{name}: {model.name}")
            _examine(study, Objective(name, model, images, labels), tell)
        study.checks.extend(_checks(study, names[0], images, labels))
        yield study


def _tell(report: Report, before: int, total: int, who: str, part: float, what: str) -> None:
    report(round(100 * (before + part)), 100 * total, f"{who}, {what}")


def _examine(study: Study, objective: Objective, tell: Callable[[float, str], None]) -> None:
    """Add one backend's training and answers to the study."""
    name = objective.backend
    study.runs[name] = _trained(objective, tell)
    if not study.points:
        study.points.extend(iterate.p for iterate in study.runs[name].path[: SHARED + 1])
    tell(0.8, "answers at the same points")
    study.answers[name] = [
        probe(objective, p, direction(p.size, seed)) for seed, p in enumerate(study.points)
    ]
    last = study.points[-1]
    v = direction(last.size, len(study.points))
    study.eigenvalues[name] = top_eigenvalue(objective, last, v, POWER_ITERATIONS)
    tell(1.0, "done")


def _trained(objective: Objective, tell: Callable[[float, str], None]) -> Run:
    steps = STEPS[objective.second_order]
    began, path = time.perf_counter(), []
    for iterate in train(objective, objective.model.start, steps):
        path.append(iterate)
        tell(0.8 * len(path) / (steps + 1), f"loss {iterate.loss:.4f}")
    seconds = time.perf_counter() - began
    return Run(path, seconds, METHODS[objective.second_order])


def _checks(study: Study, name: str, images: Vector, labels: Vector) -> list[Check]:
    answer, p = study.answers[name][-1], study.points[-1]
    v = direction(p.size, len(study.points) - 1)
    value, slope, curvature = taylor(study.model, p, v, images, labels)
    checks = [Check("loss", answer.loss, value), Check("gᵀ v", float(answer.gradient @ v), slope)]
    if answer.curvature is not None:
        checks.append(Check("vᵀ H v", answer.curvature, curvature))
    return checks
