"""Translations of `mx.nd`'s general operators against MXNet: values, first and second order."""

from __future__ import annotations

from typing import Any

import pytest

from conformance_tests.unit.mxnet_cases import (
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

nd = mx.nd


def case(name: str, call: Any, *inputs: Any, **options: Any) -> Case:
    return Case(name, call, inputs, **options)


def unary(names: str, spec: Spec, **options: Any) -> list[Case]:
    return [case(name, vars(nd)[name], spec, **options) for name in names.split()]


def zero(names: str) -> list[Case]:
    return [
        case(name, vars(nd)[name], V([-1.6, -0.5, 0.4, 1.5, 2.7, 2.5])) for name in names.split()
    ]


def binary(names: str, *specs: Spec, **options: Any) -> list[Case]:
    return [case(name, vars(nd)[name], *specs, **options) for name in names.split()]


def internal(names: str, *specs: Spec, **options: Any) -> list[Case]:
    return [case(name, vars(nd._internal)[name], *specs, **options) for name in names.split()]


def assigned(key: Any, y: Any) -> Any:
    """Zeros with ``y`` written into them, which MXNet itself cannot differentiate."""
    with mx.autograd.pause():
        x = nd.zeros((3, 4), dtype=y.dtype)
        x[key] = y
    return x


ELEMENTWISE = [
    *unary("sin cos tan sinh cosh tanh arctan arcsinh exp expm1 square", R(2, 3)),
    *unary("degrees radians", R(2, 3), exact=False),
    *unary("negative abs sigmoid relu softsign sign identity zeros_like ones_like", R(2, 3)),
    *unary("log log10 log2 log1p sqrt rsqrt reciprocal cbrt rcbrt", P(2, 3)),
    *unary("arcsin arccos arctanh", U(2, 3)),
    case("arccosh", nd.arccosh, V([1.5, 2.0, 3.0])),
    *unary("erf", U(2, 3), exact=False),
    *unary("erfinv", U(2, 3), exact=False),
    *unary("gamma gammaln", P(2, 3), exact=False),
    *zero("round rint ceil floor trunc fix logical_not BlockGrad"),
    case("hard_sigmoid", lambda x: nd.hard_sigmoid(x, alpha=0.3, beta=0.4), V([-3, -1, 0, 1, 5])),
    case("clip", lambda x: nd.clip(x, -0.7, 0.6), R(3, 3)),
    case("smooth_l1", lambda x: nd.smooth_l1(x, scalar=1.5), R(3, 3)),
    case("quadratic", lambda x: nd.contrib.quadratic(x, a=2, b=3, c=1), R(3)),
    case("div_sqrt_dim", lambda x: nd.contrib.div_sqrt_dim(x), R(3, 3)),
    case(
        "Cast",
        lambda x: nd.cast(nd.cast(x, "float32"), "float64"),
        V([0.5, 1.25]),
        single=False,
        second=False,
    ),
    case("add_n", lambda x, y, z: nd.add_n(x, y, z), R(3), R(3), R(3)),
    *binary("elemwise_add elemwise_sub elemwise_mul elemwise_div", R(2, 3), P(2, 3)),
    *binary("broadcast_add broadcast_sub broadcast_mul broadcast_div", R(2, 3), P(1, 3)),
    *binary("broadcast_maximum broadcast_minimum broadcast_hypot", R(2, 3), R(2, 1)),
    *binary("broadcast_mod broadcast_power", P(2, 3), P(2, 1)),
    *internal("_mod _power _maximum _minimum _hypot _scatter_elemwise_div", P(2, 3), P(2, 3)),
    *internal("_grad_add", R(2, 3), R(2, 3), native=False),
    *internal("_equal _not_equal _greater _greater_equal _lesser", V([1, 0, 3]), V([1, 3, 0])),
    *internal("_lesser_equal _logical_and _logical_or _logical_xor", V([1, 0, 3]), V([1, 3, 0])),
    *internal("_identity_with_attr_like_rhs", R(3), R(3)),
    *binary("maximum minimum power modulo add subtract multiply divide", P(2, 3), P(2, 3)),
    *binary("broadcast_equal broadcast_not_equal broadcast_greater", V([1, 2, 3]), V([1, 3, 2])),
    *binary("broadcast_greater_equal broadcast_lesser", V([1, 2, 3]), V([1, 3, 2])),
    *binary("broadcast_lesser_equal broadcast_logical_and", V([1, 0, 3]), V([1, 3, 0])),
    *binary("broadcast_logical_or broadcast_logical_xor", V([1, 0, 0]), V([1, 3, 0])),
    *binary("maximum minimum", V([1.0, 2, 2]), V([1.0, 3, 1]), second=False),
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
    case("max(x,s)", lambda x: nd.maximum(x, 0.3), R(5)),
    case("min(x,s)", lambda x: nd.minimum(x, 0.3), R(5)),
    case("max(x,s) tie", lambda x: nd.maximum(x, 1), V([0.0, 1, 2]), second=False),
    case("hypot(x,s)", lambda x: nd._internal._hypot_scalar(x, scalar=0.3), R(5)),
    case("x==s", lambda x: x == 1, V([0.0, 1, 2])),
    case("x!=s", lambda x: x != 1, V([0.0, 1, 2])),
    case("x>s", lambda x: x > 1, V([0.0, 1, 2])),
    case("x>=s", lambda x: x >= 1, V([0.0, 1, 2])),
    case("x<s", lambda x: x < 1, V([0.0, 1, 2])),
    case("x<=s", lambda x: x <= 1, V([0.0, 1, 2])),
    case("and", lambda x: nd.logical_and(x, 1), V([0.0, 1, 2])),
    case("or", lambda x: nd.logical_or(x, 0), V([0.0, 1, 2])),
    case("xor", lambda x: nd.logical_xor(x, 1), V([0.0, 1, 2])),
]

REDUCTIONS = [
    case(f"{name}{options}", lambda x, n=name, o=options: vars(nd)[n](x, **o), R(2, 3, 2))
    for name in ("sum", "mean", "prod", "nansum", "nanprod", "max", "min")
    for options in (
        {},
        {"axis": 1},
        {"axis": (0, -1)},
        {"axis": 1, "keepdims": True},
        {"axis": 1, "exclude": True},
        {"keepdims": True},
    )
] + [
    case("max ties", lambda x: nd.max(x, axis=1), V([[1, 2, 2], [3, 3, 1]]), second=False),
    case("min ties", lambda x: nd.min(x), V([[1, 2, 1], [3, 3, 1]]), second=False),
    case("nansum nan", lambda x: nd.nansum(x), V([1, float("nan"), 2]), native=True),
    case("norm", lambda x: nd.norm(x), R(2, 3)),
    case("norm 1", lambda x: nd.norm(x, ord=1), R(2, 3)),
    case("norm 1 axis", lambda x: nd.norm(x, ord=1, axis=1), R(2, 3)),
    case("norm 2 axis", lambda x: nd.norm(x, axis=1, keepdims=True), R(2, 3)),
    case("norm 2 axes", lambda x: nd.norm(x, axis=(0, 2)), R(2, 3, 2)),
    case("norm 1 axes", lambda x: nd.norm(x, ord=1, axis=(0, 2)), R(2, 3, 2)),
    case("moments", lambda x: nd.moments(x, axes=(0,)), R(2, 3)),
    case("moments kept", lambda x: nd.moments(x, axes=(0, 1), keepdims=True), R(2, 3)),
    case("moments all", lambda x: nd.moments(x, axes=(0, 1)), R(2, 3)),
    case("cumsum", lambda x: nd.cumsum(x), R(2, 3)),
    case("cumsum axis", lambda x: nd.cumsum(x, axis=1), R(2, 3)),
    case("argmax", lambda x: nd.argmax(x, axis=1), R(2, 3), native=False),
    case("argmax all", lambda x: nd.argmax(x), R(2, 3), native=False),
    case("argmin", lambda x: nd.argmin(x, axis=0, keepdims=True), R(2, 3), native=False),
    case("argmax_channel", lambda x: nd.argmax_channel(x), R(2, 3), native=False),
]

SHAPING = [
    case(
        f"reshape{shape}{reverse}",
        lambda x, s=shape, r=reverse: nd.reshape(x, shape=s, reverse=r),
        R(2, 3, 4),
    )
    for shape, reverse in [
        ((6, 4), False),
        ((-1,), False),
        ((0, -1), False),
        ((4, 0, 2), False),
        ((-2,), False),
        ((2, -2), False),
        ((-3, 4), False),
        ((0, -3), False),
        ((-4, 1, 2, -2), False),
        ((2, -4, -1, 3, -2), False),
        ((-1, 0), True),
        ((-3, -1), True),
        ((-2, 1, 1), False),
        ((0, 0, 2, -1, -4), True),
        ((-2, 1, -1, -4), True),
    ]
] + [
    case("Flatten", nd.flatten, R(2, 3, 2)),
    case("transpose", nd.transpose, R(2, 3, 2)),
    case("transpose axes", lambda x: nd.transpose(x, axes=(1, 2, 0)), R(2, 3, 2)),
    case("swapaxes", lambda x: nd.swapaxes(x, 0, 2), R(2, 3, 4)),
    case("expand_dims", lambda x: nd.expand_dims(x, axis=-1), R(2, 3)),
    case("squeeze", lambda x: nd.squeeze(x), R(1, 3, 1)),
    case("squeeze axis", lambda x: nd.squeeze(x, axis=(0,)), R(1, 3, 1)),
    case("squeeze all", lambda x: nd.squeeze(x), R(1, 1)),
    case("flip", lambda x: nd.flip(x, axis=1), R(2, 3)),
    case("reverse", lambda x: nd.reverse(x, axis=(0, 1)), R(2, 3)),
    case("concat", lambda x, y: nd.concat(x, y, dim=0), R(2, 3), R(1, 3)),
    case("concat 1", lambda x, y: nd.concat(x, y), R(2, 3), R(2, 1)),
    case("concat -1", lambda x, y: nd.concat(x, y, dim=-1), R(2, 2, 3), R(2, 2, 1)),
    case("stack", lambda x, y: nd.stack(x, y, axis=1), R(2, 3), R(2, 3)),
    case("split", lambda x: nd.split(x, num_outputs=3), R(2, 3)),
    case("split squeeze", lambda x: nd.split(x, num_outputs=3, axis=1, squeeze_axis=True), R(2, 3)),
    case("split_v2", lambda x: nd.split_v2(x, (1, 3)), R(4, 3)),
    case("split_v2 n", lambda x: nd.split_v2(x, 2, axis=0), R(4, 3)),
    case("slice", lambda x: nd.slice(x, begin=(0, 1), end=(2, 3)), R(3, 4)),
    case(
        "slice none",
        lambda x: nd.slice(x, begin=(None, -3), end=(None, None), step=(2, 2)),
        R(3, 4),
    ),
    case("slice back", lambda x: nd.slice(x, begin=(2,), end=(None,), step=(-1,)), R(3, 4)),
    case("slice_axis", lambda x: nd.slice_axis(x, axis=1, begin=1, end=None), R(3, 4)),
    case("slice_axis neg", lambda x: nd.slice_axis(x, axis=-1, begin=-3, end=-1), R(3, 4)),
    case("slice_like", lambda x, y: nd.slice_like(x, y), R(3, 4), C([[0.0] * 2] * 2)),
    case(
        "slice_like axes", lambda x, y: nd.slice_like(x, y, axes=(1,)), R(3, 4), C([[0.0] * 2] * 2)
    ),
    case("tile", lambda x: nd.tile(x, reps=(2, 2)), R(2, 3)),
    case("tile more", lambda x: nd.tile(x, reps=(2, 1, 2)), R(2, 3)),
    case("repeat", lambda x: nd.repeat(x, repeats=2), R(2, 3)),
    case("repeat axis", lambda x: nd.repeat(x, repeats=2, axis=1), R(2, 3)),
    case(
        "pad",
        lambda x: nd.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 2, 1), constant_value=3),
        R(1, 2, 3, 3),
    ),
    case(
        "pad edge",
        lambda x: nd.pad(x, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
        R(1, 2, 3, 3),
    ),
    case(
        "pad reflect",
        lambda x: nd.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
        R(1, 2, 3, 3),
    ),
    case("depth_to_space", lambda x: nd.depth_to_space(x, 2), R(1, 8, 2, 3)),
    case("space_to_depth", lambda x: nd.space_to_depth(x, 2), R(1, 2, 4, 6)),
    case("diag", lambda x: nd.diag(x), R(3, 4)),
    case("diag k", lambda x: nd.diag(x, k=1), R(3, 4)),
    case("diag 1d", lambda x: nd.diag(x, k=-1), R(3)),
    case("diag 3d", lambda x: nd.diag(x, axis1=0, axis2=2), R(3, 2, 3)),
    case("broadcast_to", lambda x: nd.broadcast_to(x, shape=(2, 0, 3)), R(1, 2, 1)),
    case("broadcast_axis", lambda x: nd.broadcast_axis(x, axis=(0, 2), size=(2, 3)), R(1, 2, 1)),
    case("broadcast_like", lambda x, y: nd.broadcast_like(x, y), R(1, 3), C([[0.0] * 3] * 2)),
    case(
        "broadcast_like axes",
        lambda x, y: nd.broadcast_like(x, y, lhs_axes=(0,), rhs_axes=(1,)),
        R(1, 3),
        C([[0.0] * 3] * 2),
    ),
    case("reshape_like", lambda x, y: nd.reshape_like(x, y), R(2, 3), C([[0.0] * 2] * 3)),
    case(
        "reshape_like part",
        lambda x, y: nd.reshape_like(x, y, lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2),
        R(6, 2),
        C([[0.0] * 2] * 3),
    ),
    case("shape_array", lambda x: nd.shape_array(x), R(2, 3), native=False),
    case("size_array", lambda x: nd.size_array(x), R(2, 3), native=False),
    case("arange_like", lambda x: nd.contrib.arange_like(x), R(2, 3), native=False),
    case(
        "arange_like axis",
        lambda x: nd.contrib.arange_like(x, axis=1, start=2, step=0.5),
        R(2, 3),
        native=False,
    ),
    case("x[[0,2]]", lambda x: x[[0, 2]], R(3, 4)),
    case("x[[0,2],[1,1]]", lambda x: x[[0, 2], [1, 1]], R(3, 4)),
]

INDEXING = [
    case("take", lambda x, i: nd.take(x, i), R(3, 4), C([[0, 2], [5, -1]])),
    case(
        "take wrap", lambda x, i: nd.take(x, i, axis=1, mode="wrap"), R(3, 4), C([[0, 2], [5, -1]])
    ),
    case(
        "batch_take", lambda x, i: nd.batch_take(x, i), R(3, 4), C([0, 3, 1], "int32"), native=False
    ),
    case("pick", lambda x, i: nd.pick(x, i), R(3, 4), C([0, 3, 9])),
    case("pick wrap", lambda x, i: nd.pick(x, i, mode="wrap"), R(3, 4), C([0, 3, 9])),
    case("pick axis", lambda x, i: nd.pick(x, i, axis=0, keepdims=True), R(3, 4), C([0, 1, 2, 0])),
    case("pick kept", lambda x, i: nd.pick(x, i, axis=0), R(3, 4), C([[0, 1, 2, 0]])),
    case("gather_nd", lambda x, i: nd.gather_nd(x, i), R(3, 4), C([[0, 2], [1, 3]])),
    case("gather_nd rows", lambda x, i: nd.gather_nd(x, i), R(3, 4), C([[0, 2, 2]])),
    case("scatter_nd", lambda x, i: nd.scatter_nd(x, i, shape=(3, 4)), R(2), C([[0, 2], [1, 3]])),
    case("scatter_nd rows", lambda x, i: nd.scatter_nd(x, i, shape=(3, 4)), R(2, 4), C([[0, 2]])),
    case(
        "one_hot",
        lambda x, i: x * nd.one_hot(i, 4, dtype="float64"),
        R(3, 4),
        C([0, 3, 9]),
        single=False,
    ),
    case(
        "one_hot on",
        lambda x, i: x * nd.one_hot(i, 4, on_value=2, off_value=-1, dtype="float64"),
        R(3, 4),
        C([0, 3, -1]),
        single=False,
    ),
    case(
        "Embedding",
        lambda i, w: nd.Embedding(i, w, input_dim=3, output_dim=2),
        C([[0, 2], [1, 1]]),
        R(3, 2),
    ),
    case(
        "SequenceMask",
        lambda x, n: nd.SequenceMask(x, n, use_sequence_length=True, value=0.1),
        R(3, 2, 2),
        C([1, 3]),
    ),
    case(
        "SequenceMask 1",
        lambda x, n: nd.SequenceMask(x, n, use_sequence_length=True, axis=1),
        R(2, 3),
        C([1, 3]),
    ),
    case("SequenceMask no", lambda x: nd.SequenceMask(x), R(2, 3)),
    case(
        "SequenceLast",
        lambda x, n: nd.SequenceLast(x, n, use_sequence_length=True),
        R(3, 2, 2),
        C([1, 3]),
    ),
    case(
        "SequenceLast 1",
        lambda x, n: nd.SequenceLast(x, n, use_sequence_length=True, axis=1),
        R(2, 3),
        C([1, 3]),
    ),
    case("SequenceLast no", lambda x: nd.SequenceLast(x), R(3, 2), native=False),
    case(
        "SequenceReverse",
        lambda x, n: nd.SequenceReverse(x, n, use_sequence_length=True),
        R(3, 2, 2),
        C([2, 3]),
    ),
    case("SequenceReverse no", lambda x: nd.SequenceReverse(x), R(3, 2)),
    case("sort", lambda x: nd.sort(x, axis=-1), R(2, 4)),
    case("sort down", lambda x: nd.sort(x, axis=0, is_ascend=False), R(3, 4)),
    case("sort flat", lambda x: nd.sort(x, axis=None), R(3, 4)),
    case("argsort", lambda x: nd.argsort(x, is_ascend=False), R(3, 4), native=False),
    case("topk", lambda x: nd.topk(x, k=2), R(3, 4), native=False),
    case("topk value", lambda x: nd.topk(x, k=2, ret_typ="value"), R(3, 4)),
    case(
        "topk both",
        lambda x: nd.topk(x, k=2, ret_typ="both", dtype="int32", is_ascend=True, axis=0),
        R(3, 4),
    ),
    case("topk mask", lambda x: nd.topk(x, k=2, ret_typ="mask"), R(3, 4), native=False),
    case("where", lambda c, x, y: nd.where(c, x, y), C([[1, 0], [0, 2]]), R(2, 2), R(2, 2)),
    case("where rows", lambda c, x, y: nd.where(c, x, y), C([1, 0]), R(2, 3), R(2, 3)),
    case("where square", lambda c, x, y: nd.where(c, x, y), C([1, 0]), R(2, 2), R(2, 2)),
    case("boolean_mask", lambda x, m: nd.contrib.boolean_mask(x, m), R(3, 2), C([1, 0, 1])),
    case(
        "index_copy",
        lambda x, i, y: nd.contrib.index_copy(x, i, y),
        R(3, 2),
        C([2, 0], "int64"),
        R(2, 2),
    ),
    case(
        "fill_element",
        lambda x, y, i: nd.fill_element_0index(x, y, i),
        R(3, 2),
        R(3),
        C([1, 0, 1]),
        double=False,
    ),
    case(
        "slice_assign",
        lambda x, y: nd._internal._slice_assign(x, y, begin=(0, 1), end=(2, 3)),
        R(3, 4),
        R(2, 2),
        native=False,
    ),
    case(
        "slice_assign s",
        lambda x: nd._internal._slice_assign_scalar(x, scalar=1.5, begin=(0, 1), end=(2, 3)),
        R(3, 4),
        native=False,
    ),
    case("x[i,j]=y", lambda y: assigned(([0, 2], [1, 3]), y), R(2), native=False, single=False),
    case("x[[i]]=y", lambda y: assigned([0, 2], y), R(2, 4), native=False, single=False),
]

DECLARED = [
    case("make_loss", lambda x: nd.make_loss(nd.sin(x)), R(2, 3), modes=False),
    case("MakeLoss", lambda x: nd.MakeLoss(nd.sin(x), grad_scale=2.5), R(2, 3), modes=False),
    case(
        "MakeLoss batch",
        lambda x: nd.MakeLoss(nd.sin(x), normalization="batch"),
        R(2, 3),
        modes=False,
    ),
    case(
        "MakeLoss valid",
        lambda x: nd.MakeLoss(nd.sin(x), normalization="valid", valid_thresh=0.1),
        R(2, 3),
        modes=False,
    ),
    case(
        "gradientmultiplier",
        lambda x: nd.contrib.gradientmultiplier(nd.sin(x), scalar=2.5),
        R(2, 3),
        second=False,
    ),
    case("round_ste", lambda x: nd.contrib.round_ste(nd.sin(x) * 3), R(2, 3), second=False),
    case("sign_ste", lambda x: nd.contrib.sign_ste(nd.sin(x)), R(2, 3), second=False),
    case("BlockGrad", lambda x: nd.BlockGrad(x) * nd.sin(x), R(2, 3), second=False),
]

D = {"dtype": "float64"}
CREATION = [
    case("zeros", lambda x: x + nd.zeros((2, 3), **D), R(2, 3), single=False),
    case("ones", lambda x: x + nd.ones((2, 3), **D), R(2, 3), single=False),
    case("full", lambda x: x + nd.full((2, 3), 2.5, **D), R(2, 3), single=False),
    case("arange", lambda x: x + nd.arange(1, 2.5, 0.5, **D), R(3), single=False),
    case("arange repeat", lambda x: x + nd.arange(3, repeat=2, **D), R(6), single=False),
    case("linspace", lambda x: x + nd.linspace(1, 2, 3, **D), R(3), single=False),
    case("eye", lambda x: x + nd.eye(3, 4, 1, **D), R(3, 4), single=False),
    case("index_array", lambda x: nd.contrib.index_array(x, axes=(1,)), R(2, 3), native=False),
    case(
        "im2col",
        lambda x: nd.im2col(x, kernel=(2, 3), stride=(2, 1), pad=(1, 0), dilate=(1, 2)),
        R(2, 2, 5, 6),
    ),
    case(
        "col2im",
        lambda x: nd.col2im(x, output_size=(3, 4), kernel=(2, 2), pad=(1, 0), stride=(1, 2)),
        R(1, 8, 8),
    ),
    case(
        "Crop",
        lambda x: nd.Crop(x, h_w=(2, 3), offset=(1, 0), num_args=1),
        R(1, 2, 4, 4),
        double=False,
    ),
    case(
        "Crop like",
        lambda x, y: nd.Crop(x, y, center_crop=True, num_args=2),
        R(1, 2, 4, 4),
        C([[[[0.0] * 2] * 2]]),
        double=False,
    ),
]

CASES = [*DECLARED, *CREATION, *ELEMENTWISE, *REDUCTIONS, *SHAPING, *INDEXING]


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


@pytest.mark.parametrize("row", [c for c in ELEMENTWISE if c.anywhere], ids=str)
def test_special_values(row: Case) -> None:
    check_special(row)
