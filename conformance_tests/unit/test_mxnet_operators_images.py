"""Translations of operators of images and boxes, and of densities, against MXNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from conformance_tests.unit.mxnet_cases import (
    C,
    Case,
    P,
    R,
    U,
    V,
    check_gradient,
    check_modes,
    check_second,
    check_values,
    mx,
)
from unigrad.errors import HigherOrderError

nd = mx.nd

_FIRST = [[0.1, 0.2, 2.1, 1.6], [0.9, 0.5, 1.3, 3.1], [5.0, 5.0, 6.0, 7.0]]
_SECOND = [[0.5, 0.25, 1.5, 3.5], [1.0, 1.125, 2.25, 2.0]]
_COUNTS = C([[0.0, 2.0, 3.0], [1.0, 4.0, 2.0]])
_SHARES = V([[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]])

IMAGES = [
    # MXNet's own gradient of these is wrong
    Case("flip_left_right", nd.image.flip_left_right, (R(3, 4, 3),), native=False),
    Case("flip_top_bottom", nd.image.flip_top_bottom, (R(4, 3, 1),), native=False),
    Case("to_tensor", nd.image.to_tensor, (R(3, 4, 3),), native=False, exact=False),
    Case("to_tensor, many", nd.image.to_tensor, (R(2, 3, 4, 3),), native=False, exact=False),
    Case("crop", lambda x: nd.image.crop(x, 1, 0, 2, 3), (R(4, 4, 3),)),
    Case("crop, many", lambda x: nd.image.crop(x, 0, 1, 3, 2), (R(2, 4, 4, 1),)),
    Case(
        "normalize",
        lambda x: nd.image.normalize(x, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
        (R(3, 2, 4),),
    ),
    Case("normalize, one", lambda x: nd.image.normalize(x, mean=0.1, std=0.3), (R(2, 3, 2, 4),)),
    Case("cast_storage", lambda x: nd.cast_storage(x, "default") * x, (R(3, 2),)),
]

_box_iou = nd.contrib.box_iou

BOXES = [
    # MXNet's own gradient of these is zero
    Case("box_iou", _box_iou, (V(_FIRST), V(_SECOND)), native=False),
    Case("box_iou, one", _box_iou, (V(_FIRST[:1]), V(_SECOND)), native=False),
    Case(
        "box_iou, center",
        lambda x, y: _box_iou(x, y, format="center"),
        (V(_FIRST), V(_SECOND)),
        native=False,
    ),
    Case("box_iou, many", _box_iou, (V([_FIRST, _FIRST]), V(_SECOND)), native=False),
]


def _densities(is_log: bool) -> list[Case]:
    """Those of MXNet whose constants, or logarithms of gamma, are of float32 are not `exact`."""

    def case(name: str, *inputs: Any, **options: Any) -> Case:
        def call(*xs: Any) -> Any:
            return vars(nd)[f"random_pdf_{name}"](*xs, is_log=is_log)

        return Case(f"{name}, {is_log}", call, inputs, **options)

    return [
        case("normal", R(2, 3), U(2), P(2), exact=False),
        case("normal", R(2, 3, 2), U(2), P(2), exact=False),
        case("uniform", U(2, 3), V([-1.0, -2.0]), V([1.5, 2.0])),
        case("exponential", P(2, 3), P(2)),
        case("gamma", P(2, 3), P(2), P(2), exact=False),
        case("poisson", _COUNTS, P(2), exact=False),
        case("negative_binomial", _COUNTS, P(2), V([0.3, 0.6]), exact=False),
        case("generalized_negative_binomial", _COUNTS, P(2), P(2), exact=False),
        case("dirichlet", _SHARES, P(1, 3), exact=False),
    ]


CASES = [*IMAGES, *BOXES, *_densities(False), *_densities(True)]


@pytest.mark.parametrize("row", CASES, ids=str)
def test_values(row: Case) -> None:
    check_values(row, "float64")
    check_values(row, "float32")


@pytest.mark.parametrize("row", CASES, ids=str)
def test_gradient(row: Case) -> None:
    if row.exact or row.native:
        check_gradient(row)


@pytest.mark.parametrize("minlength", [0, 7])
def test_counts_with_weights(minlength: int) -> None:
    """Of which MXNet's own gradient is silently zero."""
    make = ug.get_backend("mxnet").asarray
    x, w = make(np.array([1, 4, 1, 0])), make(np.array([0.5, 2.0, 3.0, 7.0]))

    def f(w: Any) -> Any:
        y = mx.np.bincount(x, weights=w, minlength=minlength)
        return (y * y * y).sum()

    v = make(np.array([1.0, -1.0, 0.5, 2.0]))
    sums = np.array([3.5, 2.0, 3.5, 7.0])
    np.testing.assert_allclose(ug.grad(f)(w).asnumpy(), 3 * sums**2)
    product = 6 * sums * np.array([1.5, -1.0, 1.5, 2.0])
    np.testing.assert_allclose(ug.hvp(f, w, v).asnumpy(), product)


def test_a_flip_that_mxnet_leaves_unfinished_is_refused() -> None:
    x = ug.get_backend("mxnet").asarray(np.ones((3, 4, 1))).as_nd_ndarray()
    with pytest.raises(HigherOrderError, match=r"of 3 lines.*mx\.nd\.flip\(x, axis=0\)"):
        ug.grad(lambda x: (nd.image.flip_top_bottom(x) * x).sum())(x)


def test_the_gradient_of_an_intersection_over_union() -> None:
    """Two boxes with areas 4 and 2.25 that share 1: MXNet's own gradient is silently zero."""
    make = ug.get_backend("mxnet").asarray
    x, y = (
        make(np.array([v])).as_nd_ndarray() for v in ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 2.5, 2.5])
    )
    gradient = ug.grad(lambda x: nd.contrib.box_iou(x, y).sum())(x).asnumpy()
    union = 4 + 2.25 - 1  # the area shared grows by 1 with each far side, the own one by 2
    far, near = (union - (2 - 1)) / union**2, 2 / union**2
    np.testing.assert_allclose(gradient, [[near, near, far, far]], rtol=1e-12)


@pytest.mark.parametrize("row", [c for c in CASES if "to_tensor" not in c.name], ids=str)
def test_second_order(row: Case) -> None:
    check_second(row)
    check_modes(row)
