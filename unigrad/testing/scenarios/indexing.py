"""Reading parts of arrays, and moving their axes: cotangents go back to where entries came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_X = draw(41, 4, 5)
_V = draw(42, 6)
_PICK = np.array([2, 0, 2, 1])
_SORTABLE = np.array([0.3, -1.2, 2.0, 0.9, -0.4])


def _scattered(values: Any, index: Any, shape: Any) -> Any:
    full = np.zeros(shape)
    np.add.at(full, index, values)
    return full


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "slices with steps",
        "indexing",
        lambda xp, x: x[1:, ::2] ** 2,
        (_X,),
        output="array",
        gradient=lambda u, x: _scattered(
            2 * u * x[1:, ::2], (slice(1, None), slice(None, None, 2)), x.shape
        ),
        hvp=lambda u, v, x: _scattered(
            2 * u * v[1:, ::2], (slice(1, None), slice(None, None, 2)), x.shape
        ),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "ints, negative slices, newaxis, ellipsis",
        "indexing",
        lambda xp, x: xp.sum(x[-1] * x[0, :-3, None] * x[..., 2][0] * x[2, 3] ** 2),
        (_X,),
        oracle="complex step",
    ),
    Scenario(
        "an entry used twice",
        "indexing",
        lambda xp, x: x[0] * x[0] * x[1] + x[-1] * x[0],
        (_V,),
        oracle="complex step",
    ),
    Scenario(
        "take with repeats",
        "indexing",
        lambda xp, x, index: xp.take(x, index, axis=0) ** 2,
        (draw(43, 3, 2),),
        (_PICK,),
        output="array",
        gradient=lambda u, x, index: _scattered(2 * u * x[index], index, x.shape),
        hvp=lambda u, v, x, index: _scattered(2 * u * v[index], index, x.shape),
    ),
    Scenario(
        "ops.take_along_axis",
        "indexing",
        lambda xp, x, index: ops.take_along_axis(x, index, axis=1) ** 2,
        (draw(44, 3, 4),),
        (np.array([[1, 1], [0, 3], [-1, 2]]),),
        output="array",
        gradient=lambda u, x, index: _scattered(
            2 * u * np.take_along_axis(x, index, 1), (np.arange(3)[:, None], index), x.shape
        ),
        hvp=lambda u, v, x, index: _scattered(
            2 * u * np.take_along_axis(v, index, 1), (np.arange(3)[:, None], index), x.shape
        ),
    ),
    Scenario(
        "reshape, permute, transpose",
        "indexing",
        lambda xp, x: (
            xp.sum(xp.exp(xp.permute_dims(xp.reshape(x, (2, 2, 5)), (2, 0, 1)))[:, 1, 0] ** 2)
            + xp.sum(xp.matrix_transpose(x) ** 3)
        ),
        (_X,),
        oracle="complex step",
    ),
    Scenario(
        "expand, squeeze, moveaxis",
        "indexing",
        lambda xp, x: xp.sin(xp.moveaxis(xp.squeeze(xp.expand_dims(x, axis=0), axis=0), 0, -1)),
        (_X,),
        output="array",
        gradient=lambda u, x: u.T * np.cos(x),
        hvp=lambda u, v, x: -u.T * v * np.sin(x),
    ),
    Scenario(
        "flip and roll",
        "indexing",
        lambda xp, x: xp.flip(x) * xp.roll(x, 1),
        (_V,),
        output="array",
        oracle="complex step",
    ),
    Scenario(
        "repeat and tile",
        "indexing",
        lambda xp, x: xp.repeat(x, 2) * xp.tile(x, (2,)),
        (draw(45, 3),),
        output="array",
        oracle="complex step",
    ),
    Scenario(
        "tril and triu",
        "indexing",
        lambda xp, x: xp.tril(x) ** 2 + xp.triu(x, k=1) ** 3,
        (draw(46, 3, 3),),
        output="array",
        gradient=lambda u, x: u * (np.tril(2 * x) + np.triu(3 * x**2, k=1)),
        hvp=lambda u, v, x: u * v * (np.tril(2 + 0 * x) + np.triu(6 * x, k=1)),
    ),
    Scenario(
        "sort",
        "indexing",
        lambda xp, x: xp.sort(x) ** 2,
        (_SORTABLE,),
        output="array",
        gradient=lambda u, x: _scattered(2 * u * np.sort(x), np.argsort(x), x.shape),
        hvp=lambda u, v, x: _scattered(2 * u * v[np.argsort(x)], np.argsort(x), x.shape),
    ),
    Scenario(
        "argmax selects",
        "indexing",
        lambda xp, x, weights: xp.sum(
            weights * xp.take(x, xp.reshape(xp.argmax(x, axis=0), (1,)), axis=0) ** 2
        ),
        (_SORTABLE,),
        (np.array([3.0]),),
        gradient=lambda u, x, weights: u * np.array([0, 0, 6 * x[2], 0, 0]),
        hvp=lambda u, v, x, weights: u * np.array([0, 0, 6 * v[2], 0, 0]),
    ),
)
