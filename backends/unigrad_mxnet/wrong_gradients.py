"""Operators of MXNet 1.9.1 whose own first derivative is wrong, and what to use instead.

While unigrad records, a call of one of these on an array that the derivative reaches is refused,
or computed by the engine where it has a translation: MXNet itself would go on in silence. Names
are those of MXNet's operator registry. Found by comparing native gradients with differences and
with the engine's, operator by operator and input by input, in both precisions and on memory that
held something else before.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unigrad_mxnet.arrays import peek
from unigrad_mxnet.framework import mx

__all__ = [
    "CONSTANT",
    "RANDOM",
    "RUNNING_STATISTICS",
    "TRAINING_FORWARD",
    "UNRECORDED",
    "WRONG",
    "Wrong",
]

Attributes = Mapping[str, str]
When = Callable[[Attributes, Sequence[Any]], bool]


def _always(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return True


@dataclass(frozen=True)
class Wrong:
    """Why a native derivative cannot be used.

    Attributes:
        reason: what is wrong with it.
        instead: what to type.
        when: whether a call with these attributes and inputs is affected.
        inputs: the inputs whose derivative is wrong; by default all.
        unless: an input; if it is differentiated too, all is right.
        scalar: if given, only calls with this number as their ``scalar`` are affected.
        at: whether a call on these values is; asked last, for it waits for MXNet to compute them.
    """

    reason: str
    instead: str
    when: When = _always
    inputs: tuple[int, ...] | None = None
    unless: int | None = None
    scalar: float | None = None
    at: Callable[[Sequence[Any]], bool] | None = None

    def has_scalar(self, attributes: Attributes) -> bool:
        """Whether the call's number is one that is affected."""
        return self.scalar is None or float(attributes.get("scalar", "1.0")) == self.scalar


# -------------------------------------------------------------------- when


def _float64(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return any(np.dtype(a.dtype) == np.float64 for a in arrays)


def _float32(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return not _float64(attributes, arrays)


def _is(name: str, *values: str, default: str = "") -> When:
    return lambda attributes, arrays: attributes.get(name, default) in values


def _both(one: When, other: When) -> When:
    return lambda attributes, arrays: one(attributes, arrays) and other(attributes, arrays)


def _not(one: When) -> When:
    return lambda attributes, arrays: not one(attributes, arrays)


def _tuple(attributes: Attributes, name: str) -> tuple[int, ...]:
    value = ast.literal_eval(attributes.get(name, "()"))
    return (value,) if isinstance(value, int) else tuple(value or ())


def _dilated_and_strided(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    dilate, stride = _tuple(attributes, "dilate"), _tuple(attributes, "stride")
    return any(d > 1 for d in dilate) and any(s > 1 for s in stride)


def _vector(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return len(arrays[1].shape) == 1


def _projected(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return attributes.get("projection_size", "None") != "None"


def _odd_turn(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    return int(attributes.get("k", "1")) % 2 == 1


def _matrix_norm(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    """Flags 1 and -2 are the Frobenius norm, 2 the nuclear one; one axis is a vector norm."""
    flag, axis = attributes.get("flag"), ast.literal_eval(attributes.get("axis", "None"))
    if flag in ("1", "2", "-2"):
        return False
    return flag != "-1" or not (isinstance(axis, int) or (axis is not None and len(axis) == 1))


def _inner_broadcast(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    """A batch axis of length 1 that is broadcast to the right of one that is not."""
    batches = [a.shape[:-2] for a in arrays]
    full = np.broadcast_shapes(*batches)
    for batch in batches:
        lengths = (1,) * (len(full) - len(batch)) + tuple(batch)
        spread = [i for i, n in enumerate(lengths) if n == 1 < full[i]]
        kept = [i for i, n in enumerate(lengths) if n > 1]
        if spread and kept and min(kept) < max(spread):
            return True
    return False


def _repeated_or_broadcast(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    """A letter twice in one operand, or an axis of length 1 beside a longer one."""
    terms = attributes["subscripts"].replace(" ", "").partition("->")[0].split(",")
    lengths: dict[object, set[int]] = {}
    for term, x in zip(terms, arrays, strict=True):
        letters = term.replace("...", "")
        if len(set(letters)) < len(letters):
            return True
        hidden = x.ndim - len(letters)
        before = term.partition("...")[0] if "..." in term else term
        for i, n in enumerate(x.shape):
            if i < len(before):
                key: object = before[i]
            elif i < len(before) + hidden:
                key = i - len(before) - hidden
            else:
                key = letters[i - hidden]
            lengths.setdefault(key, set()).add(n)
    ellipses = {
        x.ndim - len(t.replace("...", "")) for t, x in zip(terms, arrays, strict=True) if "..." in t
    }
    return len(ellipses) > 1 or any(len(found) > 1 for found in lengths.values())


def _uses_statistics(attributes: Attributes, arrays: Sequence[Any]) -> bool:
    training = bool(mx.autograd.is_training())
    return not training or attributes.get("use_global_stats", "False") in ("True", "1")


_TRUE, _FALSE = ("True", "1"), ("False", "0")
_NUMPY = "ug.asarray(tree, backend='numpy') to compute it there"

# -------------------------------------------------------------------- at


def _singular(arrays: Sequence[Any]) -> bool:
    return bool(np.any(np.linalg.slogdet(peek(arrays[0]))[0] == 0))


def _repeated_indices(arrays: Sequence[Any]) -> bool:
    indices = peek(arrays[1])
    columns = indices.reshape(indices.shape[0], -1)
    return bool(np.unique(columns, axis=1).shape[1] < columns.shape[1])


def _zero_at(*places: int) -> Callable[[Sequence[Any]], bool]:
    """Whether these inputs are zero, all of them at one place."""

    def at(arrays: Sequence[Any]) -> bool:
        first, *rest = (peek(arrays[k]) == 0 for k in places)
        return bool(np.any(np.logical_and(first, *rest) if rest else first))

    return at


def _squares_leave_the_range(arrays: Sequence[Any]) -> bool:
    """Whether a sum of squares is 0 or infinite, and the numbers are not."""
    with np.errstate(all="ignore"):
        sizes = [np.abs(peek(x)) for x in arrays]
        largest = sizes[0] if len(sizes) == 1 else np.maximum(*sizes)
        normal = np.finfo(largest.dtype)
        lost = (largest * largest < normal.tiny / normal.eps) | np.isinf(largest * largest * 2)
        return bool(np.any(lost & (largest > 0) & np.isfinite(largest)))


# -------------------------------------------------------------------- what


def _zero(
    instead: str,
    *,
    inputs: tuple[int, ...] | None = None,
    when: When = _always,
    at: Callable[[Sequence[Any]], bool] | None = None,
) -> Wrong:
    return Wrong("its own gradient is silently zero", instead, when, inputs, at=at)


def _single(instead: str, when: When = _float64) -> Wrong:
    return Wrong("in float64 it is accurate to float32 only", instead, when)


def _unlike(
    instead: str, when: When = _always, at: Callable[[Sequence[Any]], bool] | None = None
) -> Wrong:
    return Wrong("its own gradient is wrong", instead, when, at=at)


def _undefined(
    *inputs: int,
    scalar: float | None = None,
    at: Callable[[Sequence[Any]], bool] | None = None,
) -> Wrong:
    reason = "its own gradient is NaN or infinite at zeros where the derivative exists"
    return Wrong(reason, "mx.np.where around the zeros", inputs=inputs, scalar=scalar, at=at)


def _alone(place: int, unless: int, instead: str, when: When = _always) -> Wrong:
    reason = "its own gradient is memory that nobody wrote if no other input is differentiated"
    return Wrong(reason, instead, when, (place,), unless)


def _unwritten(*inputs: int) -> Wrong:
    """Of a label, an index, a length: zero."""
    reason = "its own gradient by a label, an index or a length is memory that nobody wrote"
    return Wrong(reason, "mx.nd.BlockGrad(label)", inputs=inputs)


def _raises(when: When = _always) -> Wrong:
    return Wrong("MXNet has no derivative of it", "other operators in its place", when)


_STATISTICS = (
    _zero(
        "mx.nd.broadcast_div(x - mean, mx.nd.sqrt(variance + eps)), written out",
        inputs=(3, 4),
        when=_uses_statistics,
    ),
    Wrong(
        "the gradient of its outputs mean and variance is silently dropped",
        "output_mean_var=False, and mx.nd.mean(x) beside it",
        _is("output_mean_var", *_TRUE),
    ),
)
_SAMPLE = _zero("location + scale * noise, with noise drawn at fixed parameters")
_SINGLE_SAMPLE = Wrong(
    "it draws in float32 only",
    "location + scale * noise, with noise drawn at fixed parameters",
    _float64,
)
_SHUFFLED = Wrong("MXNet has no derivative of it", "x[indices], with shuffled indices")
_ZERO_SAMPLES = """
    _sample_uniform _sample_normal _sample_gamma _sample_exponential _sample_poisson
    _sample_negative_binomial _sample_generalized_negative_binomial _sample_multinomial
    _npi_uniform _npi_uniform_n _npi_gamma _npi_powerd _npi_multinomial _npi_choice
"""
_SINGLE_SAMPLES = """
    _npi_normal _npi_normal_n _npi_exponential _npi_gumbel _npi_logistic _npi_pareto _npi_rayleigh
    _npi_weibull
"""
_SHUFFLES = "_shuffle _npi_shuffle"
RANDOM: frozenset[str] = frozenset(f"{_ZERO_SAMPLES} {_SINGLE_SAMPLES} {_SHUFFLES}".split())
"""Operators that draw at random, at parameters or of an array."""

_EIGEN = _zero("xp.linalg.eigh(x), for a symmetric matrix")
_IMAGE = _unlike("array indexing and arithmetic on x")
_LABELED = """
    LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput SVMOutput
    softmax_cross_entropy take SequenceMask SequenceReverse _sparse_retain _contrib_boolean_mask
    _contrib_index_copy
"""
_LABEL = _unwritten(1)
_MISSING = """
    _grad_add _npi_copysign_scalar _npi_delete _npi_insert_scalar _npi_insert_slice
    _npi_insert_tensor _npi_rcopysign_scalar _slice_assign _slice_assign_scalar argmax_channel
    batch_take fill_element_0index khatri_rao
"""
_RANDOM_IMAGES = """
    _image_random_brightness _image_random_color_jitter _image_random_contrast
    _image_random_flip_left_right _image_random_flip_top_bottom _image_random_hue
    _image_random_lighting _image_random_saturation
"""
_UNTRIED_ONES = """
    IdentityAttachKLSparseReg _contrib_MultiBoxDetection _contrib_MultiBoxPrior
    _contrib_MultiBoxTarget _contrib_MultiProposal _contrib_Proposal _contrib_SparseEmbedding
    _contrib_bipartite_matching _contrib_calibrate_entropy _contrib_dequantize _contrib_quantize
    _contrib_quantize_v2 _contrib_requantize _npi_boolean_mask_assign_scalar
    _npi_boolean_mask_assign_tensor
"""
_UNTRIED = Wrong("its own gradient is not known to be right", "mx.nd.BlockGrad(x) around its input")

WRONG: dict[str, tuple[Wrong, ...]] = {
    # silently zero
    "_npi_var": (_zero("xp.var(x), or ((x - x.mean()) ** 2).mean()"),),
    "_npi_std": (_zero("xp.std(x), or ((x - x.mean()) ** 2).mean() ** 0.5"),),
    "_npi_percentile": (_zero("mx.np.sort(x), and interpolate between its entries"),),
    "_npi_unique": (_zero("mx.np.sort(x)"),),
    "_npi_bincount": (_zero("mx.np.dot(weights, one_hot) of the indices"),),
    **dict.fromkeys([f"_np_atleast_{n}d" for n in (1, 2, 3)], (_zero("x.reshape(...)"),)),
    "_npi_eigh": (_EIGEN,),
    "_npi_eigvalsh": (_EIGEN,),
    "_npi_eig": (_EIGEN,),
    "_npi_eigvals": (_EIGEN,),
    "_npi_pinv": (_zero("xp.linalg.solve or xp.linalg.svd"),),
    "_npi_pinv_scalar_rcond": (_zero("xp.linalg.solve or xp.linalg.svd"),),
    "_linalg_det": (_zero("xp.linalg.det(x), for a singular matrix", at=_singular),),
    "_contrib_box_iou": (_zero("the areas written out"),),
    "_contrib_box_encode": (_zero("the offsets written out"),),
    "_contrib_box_decode": (_zero("the corners written out"),),
    "ROIPooling": (_zero("mx.nd.BlockGrad(rois)", inputs=(1,)),),
    "_contrib_RROIAlign": (_zero("mx.nd.BlockGrad(rois)", inputs=(1,)),),
    "_contrib_ROIAlign": (_zero("mx.nd.BlockGrad(rois)", inputs=(1,)),),
    "_contrib_PSROIPooling": (_zero("mx.nd.BlockGrad(rois)", inputs=(1,)),),
    "_contrib_DeformablePSROIPooling": (_zero("mx.nd.BlockGrad(rois)", inputs=(1,)),),
    "BatchNorm": _STATISTICS,
    "BatchNorm_v1": (*_STATISTICS, _UNTRIED),
    "_contrib_SyncBatchNorm": _STATISTICS,
    "_contrib_BatchNormWithReLU": _STATISTICS,
    "LayerNorm": (_STATISTICS[1],),
    "GroupNorm": (_STATISTICS[1],),
    "_npi_average": (
        Wrong(
            "the gradient of its second output is silently dropped",
            "returned=False, and weights.sum() beside it",
            _is("returned", *_TRUE),
        ),
        _unlike("x.mean()", _is("weighted", *_FALSE)),
    ),
    **dict.fromkeys(_ZERO_SAMPLES.split(), (_SAMPLE,)),
    **dict.fromkeys(_SINGLE_SAMPLES.split(), (_SINGLE_SAMPLE,)),
    **dict.fromkeys(_SHUFFLES.split(), (_SHUFFLED,)),
    # memory that nobody wrote
    "FullyConnected": (_alone(2, 1, "mx.nd.dot(x, weight.T) + bias", _float32),),
    "_contrib_interleaved_matmul_selfatt_valatt": (_alone(1, 0, "mx.nd.batch_dot"),),
    "_contrib_interleaved_matmul_encdec_qk": (_alone(1, 0, "mx.nd.batch_dot"),),
    "_npi_polyval": (_alone(1, 0, "the sum of the powers"),),
    "_npi_ediff1d": (_alone(1, 0, "mx.np.concatenate"), _alone(2, 0, "mx.np.concatenate")),
    # missing
    **dict.fromkeys(_MISSING.split(), (_raises(),)),
    "_npi_pad": (_raises(_not(_is("mode", "constant", default="constant"))),),
    "_npi_solve": (_raises(_vector),),
    # wrong
    "_npi_where_lscalar": (
        _unlike("xp.where(c, x, y), or mx.np.where(c, mx.np.full_like(y, x), y)"),
    ),
    "_npi_where_rscalar": (
        _unlike("xp.where(c, x, y), or mx.np.where(c, x, mx.np.full_like(x, y))"),
    ),
    "_npi_rarctan2_scalar": (
        _unlike("xp.atan2(y, x), or mx.np.arctan2(mx.np.full_like(x, y), x)"),
    ),
    "_npi_rot90": (_unlike("xp.flip(xp.permute_dims(x, (1, 0)), axis=0)", _odd_turn),),
    "_npi_norm": (_unlike("xp.linalg.matrix_norm(x, ord=...)", _matrix_norm),),
    "_npi_matmul": (
        _unlike("xp.matmul(x, y), or mx.np.broadcast_to the batch axes first", _inner_broadcast),
    ),
    "_npi_einsum": (_unlike("xp.einsum(subscripts, ...)", _repeated_or_broadcast),),
    "scatter_nd": (_unlike("distinct indices", at=_repeated_indices),),
    "Deconvolution": (
        _unlike("dilate=1 or stride=1", _dilated_and_strided),
        Wrong("its kernel fails in mx.autograd.grad", "float64 arrays", _float32),
    ),
    "Pooling": (
        _unlike(
            "pooling_convention='valid'",
            _both(_both(_float32, _is("pool_type", "avg")), _is("pooling_convention", "full")),
        ),
    ),
    **dict.fromkeys(_LABELED.split(), (_LABEL,)),
    "CTCLoss": (_unwritten(1, 2, 3),),
    "Embedding": (_unwritten(0),),
    "SoftmaxOutput": (_LABEL, _unlike("out_grad=False", _is("out_grad", *_TRUE))),
    "SequenceLast": (_LABEL, _unlike("x[-1]", _not(_is("use_sequence_length", *_TRUE)))),
    "_contrib_hawkesll": (_unlike(_NUMPY),),
    "_image_flip_left_right": (_IMAGE,),
    "_image_flip_top_bottom": (_IMAGE,),
    "_image_to_tensor": (_IMAGE,),
    "_image_resize": (_IMAGE,),
    "_image_adjust_lighting": (_IMAGE,),
    **dict.fromkeys(_RANDOM_IMAGES.split(), (_IMAGE,)),
    # nan where the derivative exists
    **dict.fromkeys(("prod", "nanprod", "_np_prod"), (_undefined(0, at=_zero_at(0)),)),
    **dict.fromkeys(
        ("_power", "broadcast_power", "_npi_power"),
        (_undefined(0, at=_zero_at(0, 1)), _undefined(1, at=_zero_at(0))),
    ),
    **dict.fromkeys(
        ("_mod", "broadcast_mod", "_npi_mod"),
        (_undefined(0, 1, at=_zero_at(1)),),
    ),
    **dict.fromkeys(
        (
            "_power_scalar",
            "_rpower_scalar",
            "_npi_power_scalar",
            "_npi_rpower_scalar",
            "_mod_scalar",
            "_npi_mod_scalar",
        ),
        (_undefined(0, scalar=0.0),),
    ),
    "_npi_arctan2": (_undefined(0, 1, at=_squares_leave_the_range),),
    "_npi_arctan2_scalar": (_undefined(0, at=_squares_leave_the_range),),
    # accurate to float32 only
    "LeakyReLU": (
        _unlike("scale * mx.nd.where(x > 0, x, alpha * mx.nd.expm1(x))", _is("act_type", "selu")),
        _unlike("act_type='leaky'", _is("act_type", "rrelu")),
        _single(
            "mx.nd.where(x > 0, x, slope * x), or act_type='elu'; mx.np.where for mx.np arrays",
            _both(_float64, _is("act_type", "leaky", "prelu", "gelu", default="leaky")),
        ),
    ),
    "erf": (_single("float32 arrays, or " + _NUMPY),),
    "erfinv": (_single("float32 arrays, or " + _NUMPY),),
    "gamma": (_single("float32 arrays, or " + _NUMPY),),
    "gammaln": (_single("float32 arrays, or " + _NUMPY),),
    "RNN": (_raises(_projected), _unlike("an unrolled RNNCell, or float32 arrays", _float64)),
    "_contrib_BilinearResize2D": (_single("float32 arrays"),),
    "_random_pdf_normal": (_single("float32 arrays, or the density written out"),),
    "_random_pdf_gamma": (_single("float32 arrays, or the density written out"),),
    "_random_pdf_dirichlet": (_single("float32 arrays, or the density written out"),),
    # not tried, for want of a case, a CPU kernel or a meaning
    **dict.fromkeys(_UNTRIED_ONES.split(), (_UNTRIED,)),
}

_CONSTANT = """
    BlockGrad zeros_like ones_like one_hot shape_array size_array argmax argmin argmax_channel
    argsort ceil fix floor rint round sign trunc logical_not all_finite _ravel_multi_index
    _unravel_index _histogram _npi_full_like _npi_argmax _npi_argmin _npi_around _npi_ceil
    _npi_fix _npi_floor _npi_rint _npi_sign _npi_trunc _npi_logical_not _npi_isnan _npi_isinf
    _npi_isfinite _npi_isposinf _npi_isneginf _npx_nonzero _np_all _np_any _npi_bernoulli
    _random_uniform_like _random_normal_like _random_gamma_like _random_exponential_like
    _random_poisson_like _random_negative_binomial_like
    _random_generalized_negative_binomial_like
    _contrib_arange_like _contrib_index_array _contrib_allclose
    broadcast_equal broadcast_not_equal broadcast_greater broadcast_greater_equal broadcast_lesser
    broadcast_lesser_equal broadcast_logical_and broadcast_logical_or broadcast_logical_xor
    _equal _not_equal _greater _greater_equal _lesser _lesser_equal
    _equal_scalar _not_equal_scalar _greater_scalar _greater_equal_scalar _lesser_scalar
    _lesser_equal_scalar _logical_and _logical_or _logical_xor _logical_and_scalar
    _logical_or_scalar _logical_xor_scalar
    _npi_equal _npi_not_equal _npi_greater _npi_greater_equal _npi_less _npi_less_equal
    _npi_equal_scalar _npi_not_equal_scalar _npi_greater_scalar _npi_greater_equal_scalar
    _npi_less_scalar _npi_less_equal_scalar _npi_bitwise_and _npi_bitwise_or _npi_bitwise_xor
    _npi_bitwise_not _npi_diag_indices_from _onehot_encode multi_all_finite
"""
CONSTANT: frozenset[str] = frozenset(_CONSTANT.split())
"""Operators constant almost everywhere: nothing is lost where their values leave MXNet."""

RUNNING_STATISTICS: dict[str, int] = {
    "BatchNorm": 2,
    "BatchNorm_v1": 2,
    "_contrib_SyncBatchNorm": 2,
    "_contrib_BatchNormWithReLU": 2,
}
"""Operators that write into their last inputs in the backward pass, and how many those are."""

UNRECORDED: dict[str, When] = {
    "_npi_copysign_scalar": _always,
    "_npi_rcopysign_scalar": _always,
    "RNN": _projected,
}
"""Operators that MXNet cannot even record, or run in training mode: when."""

TRAINING_FORWARD: frozenset[str] = frozenset({"Pooling"})
"""Operators whose value is the same in both modes, but whose float32 gradient is memory that
nobody wrote unless the forward pass ran in training mode."""
