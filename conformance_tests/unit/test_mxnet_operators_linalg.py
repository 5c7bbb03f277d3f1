"""Translations of `mx.nd`'s products and linear algebra, checked as the other operators are."""

from __future__ import annotations

from typing import Any

import pytest

from conformance_tests.unit.mxnet_cases import (
    SPD,
    Case,
    P,
    R,
    V,
    check_gradient,
    check_modes,
    check_second,
    check_values,
    mx,
)

nd = mx.nd


def case(name: str, call: Any, *inputs: Any, **options: Any) -> Case:
    return Case(name, call, inputs, **options)


def symmetric(x: Any) -> Any:
    return 0.5 * (x + nd.swapaxes(x, -1, -2))


L = nd.linalg
LOWER = V([[2.0, 0.3, 0.1], [0.5, 1.5, 0.2], [0.3, -0.4, 1.2]])
CASES = [
    case("dot", lambda x, y: nd.dot(x, y), R(2, 3), R(3, 4)),
    case("dot ta", lambda x, y: nd.dot(x, y, transpose_a=True), R(3, 2), R(3, 4)),
    case("dot tb", lambda x, y: nd.dot(x, y, transpose_b=True), R(2, 3), R(4, 3)),
    case(
        "dot tab", lambda x, y: nd.dot(x, y, transpose_a=True, transpose_b=True), R(3, 2), R(4, 3)
    ),
    case("dot 1d", lambda x, y: nd.dot(x, y), R(3), R(3)),
    case("dot 2d1d", lambda x, y: nd.dot(x, y), R(2, 3), R(3)),
    case("dot 3d", lambda x, y: nd.dot(x, y), R(2, 2, 3), R(3, 2, 2)),
    case("dot 3d tb", lambda x, y: nd.dot(x, y, transpose_b=True), R(2, 3), R(2, 2, 3)),
    case("dot 3d ta", lambda x, y: nd.dot(x, y, transpose_a=True), R(3, 2, 2), R(3, 2)),
    case("batch_dot", lambda x, y: nd.batch_dot(x, y), R(2, 2, 3), R(2, 3, 2)),
    case(
        "batch_dot t",
        lambda x, y: nd.batch_dot(x, y, transpose_a=True, transpose_b=True),
        R(2, 3, 2),
        R(2, 2, 3),
    ),
    case("khatri_rao", lambda x, y: nd.khatri_rao(x, y), R(2, 3), R(3, 3), native=False),
    case(
        "gemm",
        lambda x, y, z: L.gemm(x, y, z, alpha=2.0, beta=0.5, transpose_b=True),
        R(2, 3),
        R(4, 3),
        R(2, 4),
    ),
    case("gemm axis", lambda x, y, z: L.gemm(x, y, z, axis=0), R(2, 2, 3), R(3, 2, 2), R(2, 2, 2)),
    case("gemm2", lambda x, y: L.gemm2(x, y, alpha=2.0, transpose_a=True), R(2, 3, 2), R(2, 3, 2)),
    case("potrf", lambda x: L.potrf(symmetric(x)), SPD(3, 3)),
    case("potrf batch", lambda x: L.potrf(symmetric(x)), SPD(2, 3, 3)),
    case("potri", lambda x: L.potri(x), LOWER),
    case("potri upper", lambda x: L.potri(x, lower=False), LOWER),
    case("trsm", lambda a, b: L.trsm(a, b, alpha=2.0), LOWER, R(3, 2)),
    case("trsm right t", lambda a, b: L.trsm(a, b, rightside=True, transpose=True), LOWER, R(2, 3)),
    case("trsm upper", lambda a, b: L.trsm(a, b, lower=False, rightside=True), LOWER, R(2, 3)),
    case("trmm", lambda a, b: L.trmm(a, b, alpha=2.0), LOWER, R(3, 2)),
    case("trmm right t", lambda a, b: L.trmm(a, b, rightside=True, transpose=True), LOWER, R(2, 3)),
    case("trmm upper", lambda a, b: L.trmm(a, b, lower=False), LOWER, R(3, 2)),
    case("syrk", lambda a: L.syrk(a, alpha=1.5), R(2, 3)),
    case("syrk t", lambda a: L.syrk(a, transpose=True), R(2, 2, 3)),
    case("gelqf", lambda a: L.gelqf(a), R(2, 3)),
    case("syevd", lambda a: L.syevd(symmetric(a)), SPD(3, 3)),
    case("sumlogdiag", lambda a: L.sumlogdiag(a), P(3, 3)),
    case("sumlogdiag batch", lambda a: L.sumlogdiag(a), P(2, 3, 3)),
    case("extractdiag", lambda a: L.extractdiag(a), R(2, 3, 3)),
    case("extractdiag 1", lambda a: L.extractdiag(a, offset=1), R(3, 3)),
    case("makediag", lambda a: L.makediag(a), R(2, 3)),
    case("makediag -1", lambda a: L.makediag(a, offset=-1), R(3)),
    case("extracttrian", lambda a: L.extracttrian(a), R(2, 3, 3)),
    case("extracttrian u", lambda a: L.extracttrian(a, lower=False), R(3, 3)),
    case("extracttrian 1", lambda a: L.extracttrian(a, offset=1), R(3, 3)),
    case("extracttrian 4", lambda a: L.extracttrian(a, offset=1), R(4, 4)),
    case("maketrian 4", lambda a: L.maketrian(a, offset=1), R(6)),
    case("extracttrian -1", lambda a: L.extracttrian(a, offset=-1), R(3, 3)),
    case("maketrian", lambda a: L.maketrian(a), R(2, 6)),
    case("maketrian u", lambda a: L.maketrian(a, lower=False), R(6)),
    case("maketrian 1", lambda a: L.maketrian(a, offset=1), R(3)),
    case("maketrian -1", lambda a: L.maketrian(a, offset=-1), R(3)),
    case("inverse", lambda a: L.inverse(a), SPD(2, 3, 3)),
    case("det", lambda a: L.det(a), SPD(3, 3)),
    case("det batch", lambda a: L.det(a), SPD(2, 3, 3)),
    case("slogdet", lambda a: L.slogdet(a), SPD(2, 3, 3)),
    case("slogdet 1", lambda a: L.slogdet(a), SPD(3, 3)),
]


@pytest.mark.parametrize("row", CASES, ids=str)
def test_values(row: Case) -> None:
    if row.double:
        check_values(row, "float64")
    if row.single:
        check_values(row, "float32")


@pytest.mark.parametrize("row", CASES, ids=str)
def test_gradient(row: Case) -> None:
    check_gradient(row)


@pytest.mark.parametrize("row", [c for c in CASES if c.second], ids=str)
def test_second_order(row: Case) -> None:
    check_second(row)


@pytest.mark.parametrize("row", [c for c in CASES if c.modes], ids=str)
def test_modes(row: Case) -> None:
    check_modes(row)
