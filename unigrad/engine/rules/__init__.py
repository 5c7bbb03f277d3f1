"""The rules, by family; importing this package fills the tables of `unigrad.engine.table`."""

from unigrad.engine.rules import (
    constants,
    elementwise,
    joining,
    linear_algebra,
    products,
    reductions,
    shaping,
    sorting,
)

__all__ = [
    "constants",
    "elementwise",
    "joining",
    "linear_algebra",
    "products",
    "reductions",
    "shaping",
    "sorting",
]
