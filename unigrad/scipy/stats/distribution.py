"""What continuous and discrete distributions share: parameters, frozen or given, as in SciPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from unigrad.errors import ArgumentError
from unigrad.scipy.arrays import as_array

__all__ = ["Distribution", "all_of", "log"]

D = TypeVar("D", bound="Distribution")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A distribution with named parameters.

    Attributes:
        name: SciPy's.
        shapes: the parameters before ``loc``.
        given: the parameters that are frozen: ``norm(0.0, 2.0).logpdf(x)``.
    """

    name: str
    shapes: tuple[str, ...] = ()
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def parameters(self) -> tuple[str, ...]:
        """All their names, in order."""
        return (*self.shapes, "loc")

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters by name; ``loc`` and ``scale`` only where they are given.

        Raises:
            ArgumentError: for one too many, unknown, or missing.
        """
        names = self.parameters()
        found = {**self.given, **dict(zip(names, args, strict=False)), **kwargs}
        if len(args) > len(names) or set(found) - set(names) or set(self.shapes) - set(found):
            got = [*map(str, range(len(args))), *kwargs]
            raise ArgumentError(
                f"{self.name} takes the parameters {', '.join(names)} (shapes have no default), "
                f"got {', '.join(got) or 'none'}"
            )
        return {name: as_array(value) for name, value in found.items()}

    def __call__(self: D, *args: Any, **kwargs: Any) -> D:
        """The distribution with its parameters frozen."""
        return dataclasses.replace(self, given=self.read(args, kwargs))


def log(p: Any) -> Any:
    """The logarithm of a probability, -inf at 0."""
    with np.errstate(divide="ignore"):
        return np.log(p)


def all_of(conditions: Sequence[Any]) -> Any:
    """Conditions joined by "and"; ``True`` if there are none."""
    joined: Any = True
    for condition in conditions:
        joined = condition if joined is True else np.logical_and(joined, condition)
    return joined
