"""The form of a recorded run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Instruction", "Program", "Variable"]


@dataclass(eq=False, slots=True)
class Variable:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bool


@dataclass(slots=True)
class Instruction:
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Variable, ...]
    several: bool
    line: str


@dataclass(slots=True)
class Program:
    inputs: list[Variable]
    instructions: list[Instruction]
    outputs: list[Any]
