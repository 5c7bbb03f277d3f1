"""Small real data that the demo and the scenarios run on; sources and licences in README.md."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Digits", "digits"]


@dataclass(frozen=True)
class Digits:
    """Handwritten digits.

    Attributes:
        images: shape (1797, 64), float64 in [0, 1]: rows of 8 × 8 pixels.
        labels: shape (1797,), int64 from 0 to 9.
    """

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def digits() -> Digits:
    """The 1,797 handwritten digits of the UCI repository, doi:10.24432/C50P49.

    >>> from unigrad.data import digits
    >>> data = digits()
    >>> print(data.images.shape, data.labels[:5])
    (1797, 64) [0 1 2 3 4]
    """
    file = importlib.resources.files(__name__).joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream) as stored:
        return Digits(stored["images"] / 16.0, stored["labels"].astype(np.int64))
