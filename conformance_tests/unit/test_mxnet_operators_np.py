"""Translations of `mx.np`'s and `mx.npx`'s general operators against MXNet, as for `mx.nd`."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from conformance_tests.unit.mxnet_cases import (
    SPD,
    C,
    Case,
    P,
    R,
    Spec,
    U,
    V,
    check_gradient,
    check_modes,
    check_second,
    check_special,
    check_values,
    mx,
)

np, npx = mx.np, mx.npx


def case(name: str, call: Any, *inputs: Any, **options: Any) -> Case:
    return Case(name, call, inputs, np=True, **options)


def several(names: str, *specs: Spec, **options: Any) -> list[Case]:
    return [case(name, vars(np)[name], *specs, **options) for name in names.split()]


def masked(x: Any, mask: Any, *y: Any, **value: Any) -> Any:
    """A copy of ``x``, written where the mask is."""
    x, internal = x.copy(), mx.nd.np._internal
    name = "boolean_mask_assign_tensor" if y else "boolean_mask_assign_scalar"
    return vars(internal)[name](x, mask, *y, start_axis=0, out=x, **value)


ELEMENTWISE = [
    *several("sin cos tan sinh cosh tanh arctan arcsinh exp expm1 square", R(2, 3)),
    *several("negative abs absolute fabs sign zeros_like ones_like copy", R(2, 3)),
    *several("degrees radians", R(2, 3), exact=False),
    *several("log log10 log2 log1p sqrt reciprocal cbrt", P(2, 3)),
    *several("arcsin arccos arctanh", U(2, 3)),
    *several("arccosh", V([1.5, 2.0, 3.0])),
    *several("rint ceil floor trunc fix", V([-1.6, -0.5, 0.4, 1.5, 2.7, 2.5])),
    *several(
        "isnan isinf isfinite isposinf isneginf logical_not",
        V([0, 1, onp.inf, onp.nan, -onp.inf]),
        native=False,
        second=False,
    ),
    *[case(n, vars(npx)[n], R(2, 3)) for n in ("relu", "sigmoid")],
    *[case(n, vars(npx)[n], U(2, 3), exact=False) for n in ("erf", "erfinv")],
    *[case(n, vars(npx)[n], P(2, 3), exact=False) for n in ("gamma", "gammaln")],
    case("0-d", lambda x: npx.relu(np.sin(x) * 2.5 + 1.1), V(0.5)),
    case("around", lambda x: np.around(x, 1), V([0.16, -0.33, 1.21])),
    case("clip", lambda x: np.clip(x, -0.7, 0.6), R(3, 3)),
    case("clip low", lambda x: np.clip(x, -0.7, None), R(3, 3)),
    case("smooth_l1", lambda x: npx.smooth_l1(x, scalar=1.5), R(3, 3)),
    case(
        "nan_to_num",
        lambda x: np.nan_to_num(x, nan=2.0, posinf=3.0),
        V([1, onp.nan, onp.inf]),
        second=False,
    ),
    case(
        "astype",
        lambda x: npx.cast(npx.cast(x, "float32"), "float64"),
        V([0.5, 1.25]),
        single=False,
        second=False,
    ),
    *several("add subtract multiply true_divide divide", R(2, 3), P(1, 3)),
    *several("maximum minimum hypot arctan2", R(2, 3), R(3)),
    *several("mod remainder power", P(2, 3), P(2, 1)),
    *several("copysign", R(2, 3), R(2, 3)),
    *several("ldexp", R(3), V([1.0, 2.0, 0.5]), native=False),
    *several(
        "equal not_equal greater greater_equal less less_equal",
        V([1, 2, 3]),
        V([1, 3, 2]),
        native=False,
    ),
    *several("maximum minimum", V([1.0, 2, 2]), V([1.0, 3, 1]), second=False),
    case("x+s", lambda x: x + 2.1, R(3)),
    case("x-s", lambda x: x - 2.1, R(3)),
    case("s-x", lambda x: 2.1 - x, R(3)),
    case("x*s", lambda x: x * 2.1, R(3)),
    case("x/s", lambda x: x / 2.1, R(3)),
    case("s/x", lambda x: 2.1 / x, P(3)),
    case("x%s", lambda x: x % 0.7, P(3)),
    case("s%x", lambda x: 5.3 % x, P(3)),
    case("x**s", lambda x: x**2.5, P(3)),
    case("x**2", lambda x: x**2, R(3)),
    case("s**x", lambda x: 2.5**x, R(3)),
    case("-x", lambda x: -x, R(3)),
    case("max(x,s)", lambda x: np.maximum(x, 0.3), R(5)),
    case("min(x,s)", lambda x: np.minimum(x, 0.3), R(5)),
    case("hypot(x,s)", lambda x: np.hypot(x, 0.3), R(5)),
    case("arctan2(x,s)", lambda x: np.arctan2(x, 0.3), R(5)),
    case("arctan2(s,x)", lambda x: np.arctan2(0.3, x), R(5), native=False),
    case("copysign(x,s)", lambda x: np.copysign(x, -0.3), R(5), native=False),
    case("copysign(s,x)", lambda x: np.copysign(0.3, x), R(5), native=False),
    case("ldexp(x,s)", lambda x: np.ldexp(x, 3), R(5)),
    case("ldexp(s,x)", lambda x: np.ldexp(3, x), R(5), native=False),
    *[
        case(f"{n}(x,s)", lambda x, n=n: vars(np)[n](x, 1.0), V([0.0, 1, 2]), native=False)
        for n in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
    ],
    case("x*mask", lambda x: x * (x > 0.1), R(5)),
    case("int + x", lambda x, i: i + x, R(3), C([1, 2, 3], "int32")),
    case(
        "int / s", lambda x, i: (i / 2) * x, R(3), C([1, 2, 3], "int32"), native=False, single=False
    ),
]

REDUCTIONS = [
    case(
        f"{name}{options}",
        lambda x, n=name, o=options: vars(np)[n](x, **o),
        R(2, 3, 2),
        native=name not in ("var", "std"),
    )
    for name in ("sum", "mean", "prod", "max", "min", "var", "std")
    for options in (
        {},
        {"axis": 1},
        {"axis": (0, -1)},
        {"axis": 1, "keepdims": True},
        {"keepdims": True},
    )
] + [
    case("var ddof", lambda x: np.var(x, ddof=1), R(2, 3), native=False),
    case("std ddof", lambda x: np.std(x, axis=0, ddof=1), R(3, 3), native=False),
    case("max ties", lambda x: np.max(x, axis=1), V([[1, 2, 2], [3, 3, 1]]), second=False),
    case("amin", lambda x: np.amin(x), R(2, 3)),
    case("sum dtype", lambda x: np.sum(x, axis=0, dtype="float64"), R(2, 3)),
    case("average", lambda x: np.average(x), R(2, 3)),
    case("average w", lambda x, w: np.average(x, axis=1, weights=w), R(2, 3), P(3)),
    case("average W", lambda x, w: np.average(x, weights=w), R(2, 3), P(2, 3)),
    case(
        "average returned",
        lambda x, w: np.average(x, axis=0, weights=w, returned=True),
        R(2, 3),
        P(2, 3),
        native=False,
    ),
    case("cumsum", lambda x: np.cumsum(x), R(2, 3)),
    case("cumsum axis", lambda x: np.cumsum(x, axis=1), R(2, 3)),
    case("diff", lambda x: np.diff(x, n=2), R(2, 4)),
    case("diff axis", lambda x: np.diff(x, axis=0), R(3, 4)),
    case("ediff1d", lambda x: np.ediff1d(x), R(4)),
    case("ediff1d ends", lambda x, y: np.ediff1d(x, to_begin=2.5, to_end=y), R(4), R(2)),
    case("percentile", lambda x: np.percentile(x, 30.0), R(7), native=False, exact=False),
    case(
        "percentile axis",
        lambda x: np.percentile(x, 30.0, axis=1, keepdims=True),
        R(2, 7),
        native=False,
        exact=False,
    ),
    case(
        "quantile",
        lambda x, q: np.quantile(x, q, axis=0),
        R(7, 2),
        C([0.2, 0.5]),
        native=False,
        exact=False,
    ),
    case("argmax", lambda x: np.argmax(x, axis=1), R(2, 3), native=False),
    case("argmin", lambda x: np.argmin(x), R(2, 3), native=False),
    case("any", lambda x: np.any(x, axis=1), R(2, 3), native=False),
    case("all", lambda x: np.all(x), R(2, 3), native=False),
    case("norm", lambda x: np.linalg.norm(x), R(2, 3)),
    case("norm axis", lambda x: np.linalg.norm(x, axis=1, keepdims=True), R(2, 3)),
    case("norm axes", lambda x: np.linalg.norm(x, axis=(0, 2)), R(2, 3, 2)),
    case("norm 1", lambda x: np.linalg.norm(x, ord=1, axis=1), R(2, 3)),
    case("norm 3", lambda x: np.linalg.norm(x, ord=3, axis=0), R(2, 3)),
    case("norm inf", lambda x: np.linalg.norm(x, ord="inf", axis=0), R(2, 3)),
    case("norm fro", lambda x: np.linalg.norm(x, ord="fro", axis=(0, 1)), R(2, 3)),
    case("norm m1", lambda x: np.linalg.norm(x, ord=1, axis=(0, 1)), R(2, 3)),
    case("norm m2", lambda x: np.linalg.norm(x, ord=2, axis=(0, 1)), R(2, 3), native=False),
    case("norm m-2", lambda x: np.linalg.norm(x, ord=-2, axis=(0, 1)), R(3, 3), native=False),
    case("norm nuc", lambda x: np.linalg.norm(x, ord="nuc", axis=(0, 1)), R(2, 3), native=False),
]

SHAPING = [
    case(
        f"npx.reshape{shape}{reverse}",
        lambda x, s=shape, r=reverse: npx.reshape(x, s, reverse=r),
        R(2, 3, 4),
    )
    for shape, reverse in [
        ((6, 4), False),
        (-1, False),
        ((-2, -1), False),
        ((-4,), False),
        ((2, -4), False),
        ((-5, 4), False),
        ((-2, -5), False),
        ((-6, 1, 2, -4), False),
        ((2, -6, -1, 3, -4), False),
        ((-1, -2), True),
        ((-5, -1), True),
        ((-4, 1), False),
    ]
] + [
    case("npx.reshape -3", lambda x: npx.reshape(x, (-2, -3, -1)), R(2, 1, 3)),
    case("reshape", lambda x: x.reshape(3, -1), R(2, 3)),
    case("ravel", lambda x: np.ravel(x), R(2, 3)),
    case("T", lambda x: x.T, R(2, 3)),
    case("transpose", lambda x: np.transpose(x, (1, 2, 0)), R(2, 3, 2)),
    case("swapaxes", lambda x: np.swapaxes(x, 0, 2), R(2, 3, 2)),
    case("moveaxis", lambda x: np.moveaxis(x, 0, -1), R(2, 3, 2)),
    case("expand_dims", lambda x: np.expand_dims(x, 1), R(2, 3)),
    case("squeeze", lambda x: np.squeeze(x), R(1, 3, 1)),
    case("squeeze 0", lambda x: np.squeeze(x), R(1, 1)),
    case("squeeze axis", lambda x: np.squeeze(x, axis=0), R(1, 3, 1)),
    case("flip", lambda x: np.flip(x, 1), R(2, 3)),
    case("flip all", lambda x: np.flip(x), R(2, 3)),
    case("flipud", lambda x: np.flipud(x), R(2, 3)),
    case("fliplr", lambda x: np.fliplr(x), R(2, 3)),
    case("roll", lambda x: np.roll(x, 2), R(2, 3)),
    case("roll axis", lambda x: np.roll(x, (1, -1), axis=(0, 1)), R(2, 3)),
    case("rot90", lambda x: np.rot90(x), R(2, 3), native=False),
    case("rot90 2", lambda x: np.rot90(x, k=2, axes=(1, 2)), R(2, 2, 3), native=False),
    case("rot90 3", lambda x: np.rot90(x, k=-1), R(2, 3), native=False),
    case("concatenate", lambda x, y: np.concatenate((x, y), axis=1), R(2, 3), R(2, 1)),
    case("concatenate None", lambda x, y: np.concatenate((x, y), axis=None), R(2, 3), R(2)),
    case("append", lambda x, y: np.append(x, y, axis=0), R(2, 3), R(1, 3)),
    case("stack", lambda x, y: np.stack((x, y), axis=-1), R(2, 3), R(2, 3)),
    case("vstack", lambda x, y: np.vstack((x, y)), R(3), R(2, 3)),
    case("hstack", lambda x, y: np.hstack((x, y)), R(2, 3), R(2, 1)),
    case("hstack 1", lambda x, y: np.hstack((x, y)), R(3), R(2)),
    case("dstack", lambda x, y: np.dstack((x, y)), R(2, 3), R(2, 3)),
    case("column_stack", lambda x, y: np.column_stack((x, y)), R(3), R(3, 2)),
    case("split", lambda x: np.split(x, 2), R(4, 3)),
    case("split at", lambda x: np.split(x, (1, 2), axis=1), R(2, 4)),
    case("array_split", lambda x: np.array_split(x, 3), R(7, 2)),
    case("hsplit", lambda x: np.hsplit(x, 2), R(2, 4)),
    case("vsplit", lambda x: np.vsplit(x, (1, 3)), R(4, 2)),
    case("dsplit at", lambda x: np.dsplit(x, (1, 3)), R(2, 2, 4)),
    case("dsplit", lambda x: np.dsplit(x, 2), R(2, 2, 4)),
    case("tile", lambda x: np.tile(x, (2, 1, 2)), R(2, 3)),
    case("tile n", lambda x: np.tile(x, 2), R(2, 3)),
    case("repeat", lambda x: np.repeat(x, 2), R(2, 3)),
    case("repeat axis", lambda x: np.repeat(x, 2, axis=1), R(2, 3)),
    *[
        case(
            f"pad {mode}",
            lambda x, m=mode: np.pad(x, ((1, 2), (2, 0)), mode=m),
            R(3, 4),
            native=mode == "constant",
        )
        for mode in ("constant", "edge", "reflect", "symmetric", "minimum", "maximum")
    ],
    case(
        "pad 3", lambda x: np.pad(x, ((1, 1), (0, 1)), mode="constant", constant_values=3), R(2, 2)
    ),
    case(
        "mask=s", lambda x, m: masked(x, m, value=2.5), R(3, 2), C([1, 0, 1], "bool"), native=False
    ),
    case(
        "mask=y",
        lambda x, m, y: masked(x, m, y),
        R(3, 2),
        C([1, 0, 1], "bool"),
        R(2, 2),
        native=False,
    ),
    case("broadcast_to", lambda x: np.broadcast_to(x, (4, 2, 3)), R(2, 1)),
    case("diag", lambda x: np.diag(x, 1), R(3, 4)),
    case("diag 1", lambda x: np.diag(x), R(3)),
    case("diagflat", lambda x: np.diagflat(x, 1), R(2, 2)),
    case("diagonal", lambda x: np.diagonal(x, offset=1, axis1=0, axis2=2), R(3, 2, 3)),
    case("trace", lambda x: np.trace(x), R(3, 4)),
    case("trace axes", lambda x: np.trace(x, 1, 0, 2), R(3, 2, 3)),
    case("tril", lambda x: np.tril(x, -1), R(3, 3)),
    case("atleast_1d", lambda x: np.atleast_1d(x), V(2.0), native=False),
    case("atleast_2d", lambda x: np.atleast_2d(x), R(3), native=False),
    case("atleast_3d", lambda x: np.atleast_3d(x), R(2, 3), native=False),
    case("full_like", lambda x: x * np.full_like(x, 2.5), R(2, 3)),
    case("npx.slice", lambda x: npx.slice(x, begin=(0, 1), end=(2, None)), R(3, 4)),
    case("npx.arange_like", lambda x: npx.arange_like(x), R(2, 3), native=False),
    case("npx.shape_array", lambda x: npx.shape_array(x), R(2, 3), native=False),
    case("npx.reshape_like", lambda x, y: npx.reshape_like(x, y), R(2, 3), C([[0.0] * 2] * 3)),
    case("npx.batch_flatten", lambda x: npx.batch_flatten(x), R(2, 3, 2)),
    case("delete", lambda x: np.delete(x, 1, axis=0), R(3, 2), native=False),
    case("insert", lambda x: np.insert(x, 1, 2.5), R(3), native=False),
    case(
        "insert slice",
        lambda x, y: np.insert(x, slice(0, 2), y, axis=0),
        R(3, 2),
        R(1, 2),
        native=False,
    ),
    case(
        "insert at",
        lambda x, y, i: np.insert(x, i, y),
        R(5),
        R(2),
        C([1, 3], "int64"),
        native=False,
    ),
    case("delete slice", lambda x: np.delete(x, slice(0, 2), axis=1), R(3, 4), native=False),
    case(
        "delete at", lambda x, i: np.delete(x, i, axis=1), R(3, 4), C([0, 2], "int64"), native=False
    ),
    case("insert y", lambda x, y: np.insert(x, 1, y, axis=0), R(3, 2), R(2), native=False),
    case("meshgrid", lambda x, y: np.meshgrid(x, y), R(2), R(3)),
    case("outer", lambda x, y: np.outer(x, y), R(2), R(3)),
]

INDEXING = [
    case("take", lambda x, i: np.take(x, i, axis=1), R(3, 4), C([[0, 2], [3, 1]], "int64")),
    case(
        "take clip",
        lambda x, i: np.take(x, i, axis=0, mode="clip"),
        R(3, 4),
        C([0, 5, -1], "int64"),
    ),
    case(
        "take wrap",
        lambda x, i: np.take(x, i, axis=0, mode="wrap"),
        R(3, 4),
        C([0, 5, -1], "int64"),
    ),
    case("take flat", lambda x, i: np.take(x, i), R(3, 4), C([0, 5, 11], "int64")),
    case("x[[0,2],[1,1]]", lambda x: x[[0, 2], [1, 1]], R(3, 4)),
    case("npx.pick", lambda x, i: npx.pick(x, i), R(3, 4), C([0, 3, 1])),
    case("npx.gather_nd", lambda x, i: npx.gather_nd(x, i), R(3, 4), C([[0, 2], [1, 3]], "int64")),
    case(
        "npx.one_hot",
        lambda x, i: x * npx.one_hot(i, 4, dtype="float64"),
        R(3, 4),
        C([0, 3, 1], "int64"),
        single=False,
    ),
    case(
        "npx.embedding",
        lambda i, w: npx.embedding(i, w, input_dim=3, output_dim=2),
        C([[0, 2], [1, 1]]),
        R(3, 2),
    ),
    case(
        "npx.sequence_mask",
        lambda x, n: npx.sequence_mask(x, n, use_sequence_length=True),
        R(3, 2),
        C([1, 3]),
    ),
    case("npx.topk", lambda x: npx.topk(x, k=2, ret_typ="value"), R(3, 4)),
    case("sort", lambda x: np.sort(x, axis=0), R(3, 4)),
    case("argsort", lambda x: np.argsort(x), R(3, 4), native=False),
    case("where", lambda c, x, y: np.where(c, x, y), C([[1, 0], [0, 2]]), R(2, 2), R(2)),
    case("where column", lambda c, x, y: np.where(c, x, y), C([1, 0]), R(2, 2), R(2, 2)),
    case("where s,x", lambda c, x: np.where(c, 2.5, x), C([[1, 0], [0, 2]]), R(2, 2), native=False),
    case("where x,s", lambda c, x: np.where(c, x, 2.5), C([[1, 0], [0, 2]]), R(2, 2), native=False),
    case(
        "where s,s",
        lambda c, x: x * np.where(c, 2.5, 1.5),
        C([[1, 0], [0, 2]]),
        R(2, 2),
        native=False,
        single=True,
    ),
]

LOWER = V([[2.0, 0.3, 0.1], [0.5, 1.5, 0.2], [0.3, -0.4, 1.2]])


def symmetric(x: Any) -> Any:
    return 0.5 * (x + np.swapaxes(x, -1, -2))


ALGEBRA = [
    case("dot", lambda x, y: np.dot(x, y), R(2, 3), R(3, 4)),
    case("dot 1", lambda x, y: np.dot(x, y), R(3), R(3)),
    case("dot 0", lambda x, y: np.dot(x, y), R(2, 3), V(2.0)),
    case("dot 31", lambda x, y: np.dot(x, y), R(2, 2, 3), R(3)),
    case("dot 32", lambda x, y: np.dot(x, y), R(2, 2, 3), R(3, 2)),
    case("matmul", lambda x, y: np.matmul(x, y), R(2, 2, 3), R(2, 3, 2)),
    case("matmul broadcast", lambda x, y: np.matmul(x, y), R(2, 1, 2, 3), R(2, 3, 2), native=False),
    case("matmul 1", lambda x, y: np.matmul(x, y), R(3), R(3, 2)),
    case("inner", lambda x, y: np.inner(x, y), R(2, 3), R(4, 3)),
    case("vdot", lambda x, y: np.vdot(x, y), R(3), R(3)),
    case("tensordot", lambda x, y: np.tensordot(x, y, axes=((0, 2), (1, 0))), R(2, 3, 4), R(4, 2)),
    case("tensordot n", lambda x, y: np.tensordot(x, y, axes=2), R(2, 3, 4), R(3, 4, 2)),
    case("tensordot 0", lambda x, y: np.tensordot(x, y, axes=0), R(2), R(3)),
    case("einsum", lambda x, y: np.einsum("ij,jk->ik", x, y), R(2, 3), R(3, 2)),
    case("einsum ii", lambda x: np.einsum("ii->i", x), R(3, 3), native=False),
    case("einsum trace", lambda x: np.einsum("ii", x), R(3, 3), native=False),
    case("einsum ...", lambda x, y: np.einsum("...ij,...jk->...ik", x, y), R(2, 2, 3), R(2, 3, 2)),
    case("einsum 3", lambda x, y, z: np.einsum("i,ij,j->", x, y, z), R(2), R(2, 3), R(3)),
    case(
        "npx.batch_dot", lambda x, y: npx.batch_dot(x, y, transpose_b=True), R(2, 2, 3), R(2, 2, 3)
    ),
    case("polyval", lambda p, x: np.polyval(p, x), R(3), R(2, 2)),
    case("cholesky", lambda x: np.linalg.cholesky(symmetric(x)), SPD(3, 3)),
    case("inv", lambda x: np.linalg.inv(x), SPD(2, 3, 3)),
    case("det", lambda x: np.linalg.det(x), SPD(3, 3)),
    case("slogdet", lambda x: np.linalg.slogdet(x), SPD(2, 3, 3)),
    case("solve", lambda a, b: np.linalg.solve(a, b), LOWER, R(3, 2)),
    case("solve 1", lambda a, b: np.linalg.solve(a, b), LOWER, R(3), native=False),
    case("solve batch", lambda a, b: np.linalg.solve(a, b), SPD(2, 3, 3), R(2, 3, 2)),
    case("tensorinv", lambda a: np.linalg.tensorinv(a.reshape(3, 1, 3), 1), LOWER),
    case("tensorsolve", lambda a, b: np.linalg.tensorsolve(a, b), LOWER, R(3)),
    case("pinv r", lambda a: np.linalg.pinv(a, rcond=1e-12), R(2, 3, 2), native=False),
    case("pinv", lambda a: np.linalg.pinv(a), R(3, 2), native=False),
    case("eigvalsh", lambda a: np.linalg.eigvalsh(symmetric(a)), SPD(3, 3), native=False),
    case("eigh", lambda a: np.linalg.eigh(symmetric(a)), SPD(3, 3), native=False),
    case("svd", lambda a: np.linalg.svd(a), R(2, 3)),
]

D = {"dtype": "float64"}
CREATION = [
    case("zeros", lambda x: x + np.zeros((2, 3), **D), R(2, 3), single=False),
    case("ones", lambda x: x + np.ones((2, 3), **D), R(2, 3), single=False),
    case("full", lambda x: x + np.full((2, 3), 2.5, **D), R(2, 3), single=False),
    case("arange", lambda x: x + np.arange(1, 2.5, 0.5, **D), R(3), single=False),
    case("linspace", lambda x: x + np.linspace(1, 2, 3, endpoint=False, **D), R(3), single=False),
    case("logspace", lambda x: x + np.logspace(1, 2, 3, **D), R(3), single=False),
    case("eye", lambda x: x + np.eye(3, 4, 1, **D), R(3, 4), single=False),
    case("identity", lambda x: x + np.identity(3, **D), R(3, 3), single=False),
    case("indices", lambda x: x + np.indices((2, 3), **D), R(2, 2, 3), single=False),
    case("hanning", lambda x: x * np.hanning(3, **D), R(3), single=False),
    case("hamming", lambda x: x * np.hamming(3, **D), R(3), single=False),
    case("blackman", lambda x: x * np.blackman(3, **D), R(3), single=False),
]

CASES = [*CREATION, *ELEMENTWISE, *REDUCTIONS, *SHAPING, *INDEXING, *ALGEBRA]


@pytest.mark.parametrize("row", CASES, ids=str)
def test_values(row: Case) -> None:
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


@pytest.mark.parametrize("row", [c for c in ELEMENTWISE if c.anywhere], ids=str)
def test_special_values(row: Case) -> None:
    check_special(row)
