"""The operations that the fuzzer builds programs from, as lines of NumPy source.

A line is ``template | words | words``: the words say what the first, second, third operand
(``{x}``, ``{y}``, ``{z}``) must be, by the requirements and options of `fuzz.options`; other
names in braces are options drawn for the shape of ``{x}``. ``;`` separates statements, of which
the last to assign ``{out}`` gives the value. A new rule is one line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

try:
    from scipy import special
except ModuleNotFoundError:
    special = None

__all__ = ["OPERATIONS", "REFUSED", "Operation"]


@dataclass(frozen=True)
class Operation:
    """One line of the tables.

    Attributes:
        template: NumPy source with operands and options in braces.
        operands: for each operand, the requirements that it meets.
        complex: whether complex operands are meant too.
    """

    template: str
    operands: tuple[tuple[str, ...], ...]
    complex: bool = False

    def __str__(self) -> str:
        return self.template


_EITHER = """
    -{x}
    +{x} * {x}
    {x} + {y} | | beside
    {x} - {y} | | beside
    {x} * {y} | | beside
    {x} / {y} | | beside nonzero
    {c} * {x} - {y} ** 2 | | beside
    2.0 / {x} + 3 | nonzero
    ({x} - {c}) ** {n}
    {x} ** {y} | pos | beside small
    {x} @ {y} | nd1 | after
    {out} = {x} * 1.0;{out} += {y} | | into
    {out} = {x}.copy();{out} *= {y} | | into
    {out} = {x} * 1.0;{out} -= {y};{out} /= 1.5 | | into
    np.add({x}, {y}) | | beside
    np.multiply({x}, {y}) | | beside
    np.divide({x}, {y}) | | beside nonzero
    np.multiply.outer({x}, {y}) | few | few
    np.subtract.outer({x}, {y}) | few | few
    np.add.reduce({x}, axis={axes}) | nd1
    np.multiply.reduce({x}, axis={axis}) | nd1
    np.add.accumulate({x}, axis={axis}) | nd1
    np.multiply.accumulate({x}, axis={axis}) | nd1
    np.true_divide({x}, {y}) | | beside nonzero
    np.reciprocal({x}) | nonzero
    np.power({x}, {n}) | nonzero
    np.float_power({x}, {y}) | pos | beside small
    np.abs({x}) | nonzero
    np.absolute({x}) | nonzero
    np.real({x}) + np.imag({x})
    {x}.real * {x}.imag
    np.conj({x}) * {x}
    {x}.conj() + 1j * {x}
    np.angle({x}) | pos
    np.nan_to_num({x})
    np.copy({x})
    np.real_if_close({x} + 0j)
    np.sum({x}, axis={axes}, keepdims={flag}) | nd1
    {x}.sum({axis}) | nd1
    np.prod({x}, axis={axes}, keepdims={flag}) | nd1
    np.mean({x}, axis={axes}, keepdims={flag}) | nd1 full
    np.var({x}, axis={axes}, keepdims={flag}) | nd1 full
    np.var({x}, axis={axis}, ddof={ddof}) | long
    np.std({x}, axis={axes}, keepdims={flag}) | nd1 spread
    np.std({x}, axis={axis}, ddof={ddof}) | long spread
    np.average({x}, axis={axis}) | nd1 full
    np.average({x}, axis=0, weights={y}) | nd1 full | rows pos real vec
    np.cumsum({x}, axis={axis_or_none})
    np.cumprod({x}, axis={axis_or_none})
    np.nansum({x}, axis={axes}) | nd1
    np.nanprod({x}, axis={axes}) | nd1
    np.nanmean({x}, axis={axes}) | nd1 full
    np.nancumsum({x}, axis={axis_or_none})
    np.nancumprod({x}, axis={axis_or_none})
    np.nanvar({x}, axis={axis}) | nd1 full
    np.nanstd({x}, axis={axis}) | nd1 spread
    np.reshape({x}, {shape})
    np.reshape({x}, {shape}, order="F")
    {x}.reshape({shape})
    np.ravel({x}) * np.ravel({x}, order="F")
    {x}.flatten()
    np.transpose({x}, {perm})
    {x}.T
    np.swapaxes({x}, {axis}, {axis2}) | nd1
    np.moveaxis({x}, {axis}, {axis2}) | nd1
    np.rollaxis({x}, {axis}) | nd1
    np.expand_dims({x}, {axis}) | nd1
    np.squeeze({x})
    np.squeeze({x}[None, ..., None], axis=(0, -1))
    np.broadcast_to({x}, (2, *{x}.shape))
    np.add(*np.broadcast_arrays({x}, {y})) | | beside
    np.flip({x}, axis={axis_or_none})
    np.flipud({x}) | nd1
    np.fliplr({x}) | nd2
    np.rot90({x}, {n}) | nd2
    np.roll({x}, {shift}, axis={axis_or_none})
    np.tril({x}, {k}) | nd2
    np.triu({x}, {k}) | nd2
    np.diag({x}, {k}) | mat full
    np.diag({x}, {k}) | vec
    np.diagflat({x}, {k}) | vec
    np.diagonal({x}, {k}) | nd2 full
    {x}.diagonal(0, -1, -2) | nd2 full
    np.trace({x}, {k}) | nd2 full
    {x}.trace() | nd2 full
    np.atleast_1d({x}) + np.atleast_2d({x}) + np.atleast_3d({x})[..., 0] | mat
    np.atleast_1d({x})
    np.multiply(*np.meshgrid({x}, {y}, indexing={indexing})) | vec | vec
    np.repeat({x}, 2, axis={axis}) | nd1
    np.repeat({x}, {n})
    np.tile({x}, {reps})
    np.resize({x}, (2, 3)) | full
    np.pad({x}, {pad}) | nd1
    np.pad({x}, 1, mode={padmode}) | long
    np.pad({x}, 1, mode="constant", constant_values=0.5)
    np.diff({x}, axis={axis}) | nd1 full
    np.diff({x}, n=2, axis={axis}, prepend=0.5) | nd1 full
    np.ediff1d({x}, to_begin=1.5) | full
    np.concatenate([{x}, {y}], axis=0) | nd1 | joined
    np.concatenate([{x}, {y}, {x}], axis=None)
    np.stack([{x}, {y} * 2], axis={axis}) | nd1 | like
    np.hstack([{x}, {y}]) | vec | vec
    np.vstack([{x}, {x} ** 2])
    np.row_stack([{x}, {x} ** 2])
    np.dstack([{x}, {x} * {c}])
    np.column_stack([{x}, {y}]) | vec | like
    np.append({x}, {y})
    np.block([[{x}, {x} * 2], [{x} ** 2, {x}]]) | mat
    np.split({x}, [1], axis={axis})[{first}] | nd1 full
    np.array_split({x}, 2, axis={axis})[{first}] | nd1 full
    np.hsplit({x}, [1])[1] | nd2 full
    np.vsplit({x}, [1])[0] | nd2 full
    np.dsplit({x}, [1])[0] | nd3 full
    np.insert({x}, 1, {c}, axis={axis}) | nd1 full
    np.insert({x}, [0, 1], {x}.ravel()[0]) | nd1 full
    np.delete({x}, 0, axis={axis}) | nd1 full
    {x}[{index}] | nd1
    {x}[{fancy}] | nd1 full
    {x}[{mask}] | full
    {x}[np.ix_(*[[0, -1]] * {x}.ndim)] | nd1 full
    np.take({x}, [0, -1, 0], axis={axis}) | nd1 full
    np.take({x}, [[1], [7]], mode={takemode}) | full
    np.take_along_axis({x}, np.argsort(np.real({x}), axis={axis}), axis={axis}) | nd1 full apart
    np.compress([True], {x}, axis={axis}) | nd1 full
    np.extract({mask}, {x}) | full
    np.where({mask}, {x}, {y}) | full | beside
    np.where({mask}, {x}, 0.0) | full
    np.select([{mask}, {x} == {x}], [{x} ** 2, {y}], default=1.0) | full | into
    {out} = np.zeros_like({x});{out}[{index}] = {x}[{index}] ** 2 | nd1
    {out} = np.ones_like({x});{out}[{index}] *= {x}[{index}] | nd1
    {out} = np.empty_like({x});{out}[...] = {y};{out}[{fancy}] = {x}[{fancy}] | nd1 full | into
    {out} = np.full_like({x}, 0.5);{out}[{fancy}] = {x}[{fancy}] | nd1 full
    {out} = {x}.copy();{out}[{index}] += {x}[{index}] * {c} | nd1
    {out} = {x}.copy();{out}[{mask}] = {c} | full
    {out} = {x} * 1;{row} = {out}[0];{row} *= 2;{out}[-1] += {row} | nd2 full
    {out} = np.zeros_like({x}, shape=(3,));{out}[1:] = {x}.ravel()[0];{out}[0] = {y}.sum() | full |
    {out} = np.zeros_like({x});np.add.at({out}, [0, 0, -1], {x}[0] ** 2) | nd1 full
    {out} = {x}[0] * 0.0;for row in {x}: {out} = {out} * {c} + row ** 2 | nd1 full
    sum(row * i for i, row in enumerate({x})) | nd2 full
    np.dot({x}, {y}) | nd1 | dotted
    np.dot({x}, {c})
    np.inner({x}, {y}) | nd1 | last
    np.outer({x}, {y}) | few | few
    np.vdot({x}, {y}) | | like
    np.matmul({x}, {y}) | nd1 | after
    np.tensordot({x}, {y}, axes=1) | nd1 | dotted flat
    np.tensordot({x}, {y}, axes=0) | few | few
    np.tensordot({x}, {y}, axes=([0], [0])) | mat | joined
    np.kron({x}, {y}) | few | few
    np.einsum("...,...->...", {x}, {y}) | | beside
    np.einsum("ij,jk->ki", {x}, {y}) | mat | after mat
    np.einsum("ij,ik->jk", {x}, {y}, optimize={flag}) | mat | rows mat
    np.einsum("ij->j", {x}) | mat
    np.einsum("ii->i", {x}) | square mat
    np.einsum("ii", {x}) | square mat
    np.einsum("...i,i->...", {x}, {y}) | nd1 | row vec
    np.einsum("i...->...", {x}) | nd1
    np.einsum({x}, [0, 1], {x}, [0, 2], [1, 2]) | mat
    np.convolve({x}, {y}, mode={convmode}) | vec full | vec full
    np.cross({x}, {y}) | three | like
    np.linalg.solve({x}, {y}) | square | rhs
    np.linalg.inv({x}) | square
    np.linalg.pinv({x}) | mat gaps
    np.linalg.det({x}) | square
    np.linalg.slogdet({x})[1] | square
    np.linalg.cholesky({x} @ np.conj(np.swapaxes({x}, -1, -2)) + 1e-9) | square
    np.linalg.eigvalsh({x} @ np.conj(np.swapaxes({x}, -1, -2))) | square gaps
    np.abs(np.linalg.eigh({x} @ np.conj(np.swapaxes({x}, -1, -2)), UPLO={uplo})[1]) | square gaps
    np.linalg.svd({x}, compute_uv=False) | nd2 gaps
    np.abs(np.linalg.svd({x}, full_matrices={flag})[0]) | square gaps
    np.abs(np.linalg.svd({x}, full_matrices=False)[2]) | nd2 gaps
    np.abs(np.linalg.qr({x})[0]) | square
    np.abs(np.linalg.qr({x}, mode="r")) | square
    np.linalg.matrix_power({x}, {power}) | square
    np.linalg.multi_dot([{x}, {y}, {x}]) | mat | back mat
    np.linalg.norm({x}) | spread
    np.linalg.norm({x}, axis={axis}, keepdims={flag}) | nd1 nonzero full
    np.linalg.norm({x}, {vectorord}, axis={axis}) | nd1 nonzero full apart
    np.linalg.norm({x}, {matrixord}) | mat nonzero gaps apart
    np.linalg.norm({x}, axis=(0, 1)) | nd2 nonzero full
    np.stack([{x}[0], {x}[-1] ** 2]) | nd1 full
    np.iscomplexobj({x}) * {x} + np.shape({x} * 2)[0] * {x} | nd1
    np.sum({x} * (np.argsort(np.real({x}), axis={axis}) + 1.0)) | nd1 apart
    np.array([{x}[0], {x}[-1] ** 2]) @ np.ones(2) | vec full
"""

_REAL = """
    {x} // {c} + {x} | frac
    {x} % {y} | frac | beside pos modulus
    abs({x}) | nonzero
    divmod({x}, 0.7)[1] | modulus07
    np.floor_divide({x}, 1.0) * {x} | frac
    np.remainder({x}, {y}) | | beside pos modulus
    np.mod({x}, 0.7) | modulus07
    np.fmod({x}, {y}) | | beside pos modulus
    np.arctan2({x}, {y}) | nonzero | beside nonzero
    np.hypot({x}, {y}) | nonzero | beside
    np.logaddexp({x}, {y}) | | beside
    np.logaddexp2({x}, {y}) | | beside
    np.maximum({x}, {y}) | | beside away
    np.minimum({x}, {y}) | | beside away
    np.fmax({x}, {y}) | | beside away
    np.fmin({x}, {y}) | | beside away
    np.maximum({x}, 0.0) | nonzero
    np.copysign({x}, {y}) | nonzero | beside nonzero
    np.heaviside({x}, 0.5) * {x} | nonzero
    np.ldexp({x}, {n})
    np.round({x} * 0.5) + {x} | frac
    np.around({x}, 1) * {x} | decimal
    np.fix({x}) * {x} | frac
    np.modf({x})[0] + 2 * {x} | frac
    np.frexp({x} + 0.0)[0] * 1.0 | octave
    np.sinc({x}) | nonzero
    np.i0({x}) | nonzero
    np.clip({x}, -0.5, 0.6) | clipped
    np.clip({x}, {y}, None) | | into away
    {x}.clip(max=0.6) | clipped
    np.where({x} > 0, {x} ** 2, np.sin({x})) | nonzero
    np.select([{x} > 0.5, {x} > -0.4], [{x} ** 2, {x} ** 3], default={x}) | clipped
    np.choose({mask} * 1, [{x}, {x} ** 2]) | full
    np.piecewise({x}, [{x} > 0], [np.square, np.sin]) | nonzero
    np.max({x}, axis={axes}, keepdims={flag}) | nd1 full apart
    np.min({x}, axis={axes}, keepdims={flag}) | nd1 full apart
    np.amax({x}, axis={axis}) | nd1 full apart
    np.amin({x}, axis={axis}) | nd1 full apart
    np.nanmax({x}, axis={axis}) | nd1 full apart
    np.nanmin({x}, axis={axis}) | nd1 full apart
    np.ptp({x}, axis={axis_or_none}) | long apart
    np.{f}.accumulate({x}, axis={axis}) | nd1 full apart: maximum minimum fmax fmin
    np.{f}.reduce({x}, axis={axis}) | nd1 full apart: fmax fmin
    np.{f}.accumulate({x}, axis={axis}) | nd1 full: subtract logaddexp logaddexp2
    np.{f}.accumulate({x}, axis={axis}) | nd1 full nonzero: divide hypot
    np.{f}.reduce({x}, axis={axis}, keepdims={flag}) | nd1 full: subtract logaddexp logaddexp2
    np.{f}.reduce({x}, axis={axis}) | nd1 full nonzero: divide hypot
    np.maximum.reduce({x}, axis={axis}) | nd1 full apart
    np.minimum.reduce({x}, axis={axis}) | nd1 full apart
    np.median({x}, axis={axes}, keepdims={flag}) | nd1 full apart
    np.nanmedian({x}, axis={axis}) | nd1 full apart
    np.percentile({x}, 30.0, axis={axis}) | nd1 full apart
    np.quantile({x}, [0.1, 0.8], axis={axis_or_none}, method={quantile}) | nd1 full apart
    np.nanquantile({x}, 0.4, axis={axis}) | nd1 full apart
    np.nanpercentile({x}, 60.0, axis={axis}) | nd1 full apart
    np.round_({x}) * {x} | frac
    np.sort({x}, axis={axis_or_none}) | nd1 full apart
    np.partition({x}, 0, axis={axis}) | nd1 full apart
    np.flip(np.sort({x})) | nd1 full apart
    {x}[np.argmax({x})] + {x}[np.argmin({x})] ** 2 | vec full apart
    np.cov({x}) | long mat
    np.cov({x}, rowvar=False, ddof=0) | long mat
    np.unique({x}) ** 2 | full apart
    np.corrcoef({x}) | long mat spread
    np.sum(np.abs(np.roots({x})) ** 2) | long vec nonzero
    np.polyval({y}, {x}) | few | few vec
    np.vander({x}, 3) | vec
    np.interp({x}, [-3.0, -0.5, 0.8, 3.0], [0.0, 1.0, -1.0, 0.5]) | few clipped
    np.gradient({x}, axis={axis}) | long
    np.gradient({x}, 0.5, axis={axis}, edge_order=1) | long
    np.trapz({x}, dx=0.5, axis={axis}) | long
    np.correlate({x}, {y}, mode={convmode}) | vec full | vec full
    np.unwrap({x} * 3.0) | vec small
    np.linalg.lstsq({x}, {y}, rcond=None)[0] | square mat gaps | rhs mat
    np.linalg.cond({x}) | square gaps
    np.linalg.eigvals({x} @ {x}.T) | square mat gaps
    np.real(np.fft.fft({x}, axis={axis})) | nd1 full
    np.abs(np.fft.rfft({x}, axis={axis})) ** 2 | nd1 full
    np.fft.irfft({x}, n=4, axis={axis}) | long
    np.real(np.fft.fftn({x})) | nd1 full
    np.real(np.fft.ihfft({x}, axis={axis})) | nd1 full
    np.real(np.fft.rfft2({x})) | nd2 full
    np.real(np.fft.rfftn({x}, norm={norm})) | nd1 full
    np.fft.irfftn({x}, s=[4], axes=[-1]) | long
    np.fft.irfft2({x}, s=[4, 4]) | long nd2
    np.fft.hfft({x}, n=4, axis={axis}) | long
"""

_FOURIER = """
    np.fft.fft({x}, axis={axis}) | nd1 full
    np.fft.fft({x}, n=3, axis={axis}, norm={norm}) | nd1 full
    np.fft.ifft({x}, axis={axis}, norm={norm}) | nd1 full
    np.fft.fft2({x}) | nd2 full
    np.fft.ifft2({x}, norm={norm}) | nd2 full
    np.fft.ifftn({x}) | nd1 full
    np.fft.fftshift({x}) | nd1 full
    np.fft.ifftshift({x}, axes={axis}) | nd1 full
    np.linalg.eig({x})[0] | square gaps spectrum
    np.linalg.eigvals({x}) | square gaps spectrum
"""

_SPECIAL = """
    sp.{f}({x}): erf erfc erfcx erfi ndtr log_ndtr expit log_expit expm1 exprel dawsn
    sp.{f}({x}): j0 j1 i0 i1 i0e i1e sinc exp2 exp10 sindg cosdg cosm1 tandg wrightomega
    sp.{f}({x}): ber bei berp beip
    sp.{f}({x}) | pos: gammaln loggamma gamma digamma psi entr rgamma spence exp1 expi
    sp.{f}({x}) | pos: y0 y1 k0 k1 k0e k1e log1p cbrt cotdg ker kei kerp keip
    sp.{f}({x}) | unit: erfinv
    sp.{f}({x}) | open01: ndtri logit ellipk ellipe ellipkm1 erfcinv
    sp.ndtri_exp(-{x}) | pos
    sp.gammasgn({x}) * {x} | nonzero
    sp.zeta(2.5, {x}) | pos
    np.real(sp.lambertw({x})) | pos
    np.real(sp.wofz({x}))
    sp.{f}({x})[0] | pos: airy fresnel sici shichi
    sp.{f}({x})[1] | pos: airy fresnel sici shichi
    sp.{f}({n}, {x}) | pos: jv yv iv kv ive kve jve yve kn yn expn pdtr pdtrc struve modstruve
    np.real(sp.{f}({n}, {x})) | pos: hankel1 hankel2 hankel1e hankel2e
    sp.{f}({n}, {x}) | unit: eval_legendre eval_chebyt eval_chebyu eval_hermite eval_hermitenorm
    sp.{f}({n}, {x}) | unit: eval_laguerre hyp0f1
    sp.{f}({n}, 0.7, {x}) | unit: eval_gegenbauer eval_genlaguerre
    sp.eval_jacobi({n}, 0.7, 1.5, {x}) | unit
    sp.{f}(0.7, 1.5, {x}) | open01: hyp1f1 hyperu betainc betaincc betaincinv betainccinv
    sp.hyp2f1(0.7, 1.5, 2.2, {x}) | unit
    sp.{f}({x}, {y}) | pos | beside pos: xlogy xlog1py beta betaln rel_entr kl_div binom
    sp.{f}({x}, {y}) | pos | beside small: boxcox boxcox1p powm1
    sp.{f}({x}, {y}) | open01 | beside pos: inv_boxcox inv_boxcox1p
    sp.{f}({x}, {y}) | small | beside small: owens_t
    sp.{f}({x}, 0.4) | open01: ellipeinc ellipkinc
    sp.ellipj({x}, {c} * 0.3)[0] | small
    sp.poch({x}, {y}) | pos | beside pos
    sp.{f}(1.5 * {c}, {x}) | pos: gammainc gammaincc chdtr chdtrc
    sp.{f}({c} + 1.0, {x}) | open01: gammaincinv gammainccinv stdtrit
    sp.{f}(0.8, 1.3, {x}) | pos: gdtr gdtrc
    sp.stdtr(3.0, {x})
    sp.radian({x}, {y}, 2.0) | pos | beside pos
    sp.huber(0.8, {x}) | clipped
    sp.pseudo_huber(0.8, {x})
"""

_REFUSED = """
    np.histogram({x}) | vec full
    np.histogram2d({x}, {x}) | vec full
    np.histogramdd({x}) | mat full
    np.histogram_bin_edges({x}) | vec full
    np.linalg.matrix_rank({x}) | mat full
    np.polydiv({x}, {x}) | vec full
    np.trim_zeros({x}) | vec full
    np.unique_all({x}) | vec full
    np.unique_counts({x}) | vec full
    np.unique_inverse({x}) | vec full
"""

_UNARY = {
    "": "sin cos tanh arctan negative positive square conjugate conj",
    "small": "exp exp2 expm1 sinh cosh tan arcsinh",
    "pos": "log log2 log10 log1p sqrt reciprocal",
    "unit": "arcsin arccos arctanh",
    "gt1": "arccosh",
}
_REAL_UNARY = {
    "": "deg2rad rad2deg radians degrees",
    "nonzero": "cbrt fabs sign",
    "frac": "floor ceil trunc rint fix",
}
_STANDARD = """
    np.matrix_transpose({x}) | nd2
    np.permute_dims({x}, {perm})
    np.concat([{x}, {x}], axis=0) | nd1
    np.unstack({x})[0] | nd1 full
    np.cumulative_sum({x}, axis={axis}, include_initial={flag}) | nd1
    np.cumulative_prod({x}, axis={axis}) | nd1
    np.vecdot({x}, {y}) | nd1 | like
    np.vecmat({x}, {y}) | vec | after mat
    np.matvec({x}, {y}) | nd2 | row vec
    np.astype({x} * 2, {x}.dtype)
    np.linalg.matmul({x}, {y}) | nd1 | after
    np.linalg.vecdot({x}, {y}) | nd1 | like
    np.linalg.outer({x}, {y}) | vec | vec
    np.linalg.tensordot({x}, {y}, axes=1) | nd1 | dotted flat
    np.linalg.cross({x}, {y}) | three | like
    np.linalg.diagonal({x}) | nd2 full
    np.linalg.trace({x}) | nd2 full
    np.linalg.matrix_transpose({x}) | nd2
    np.linalg.svdvals({x}) | nd2 gaps
    np.linalg.vector_norm({x}, axis={axis}) | nd1 nonzero full
    np.linalg.matrix_norm({x}) | nd2 nonzero full
    np.unique_values({x}) ** 2 | vec full apart
    np.trapezoid({x}, axis={axis}) | long
"""


def exists(template: str) -> bool:
    """Whether this NumPy (or SciPy) has the functions that a template names."""
    for word in template.replace("(", " ").replace("[", " ").replace(",", " ").split():
        prefix, *path = word.strip("*-+)]}").split(".")
        if prefix in ("np", "sp") and path:
            found: object = np if prefix == "np" else special
            for name in path:
                found = getattr(found, name, None)
            if found is None:
                return False
    return True


def _rows(text: str, complex_too: bool) -> Iterator[Operation]:
    for line in filter(None, map(str.strip, text.splitlines())):
        pattern, *words = (part.strip() for part in line.split("|"))
        names = [""]
        if "{f}" in pattern:
            last = words.pop() if words else pattern
            kept, _, listed = last.rpartition(": ")
            names = listed.split()
            if words or last != pattern:
                words.append(kept)
            else:
                pattern = kept
        for name in names:
            template = pattern.replace("{f}", name)
            operands = [tuple(w.split()) for w in words]
            count = sum("{" + letter + "}" in template for letter in "xyz")
            operands += [()] * (count - len(operands))
            yield Operation(template, tuple(operands), complex_too)


def _families(families: dict[str, str], complex_too: bool) -> Iterator[Operation]:
    for words, names in families.items():
        for name in names.split():
            yield Operation(f"np.{name}({{x}})", (tuple(words.split()),), complex_too)


def _all() -> Iterator[Operation]:
    yield from _families(_UNARY, True)
    yield from _families(_REAL_UNARY, False)
    yield from _rows(_EITHER + _FOURIER + _STANDARD, True)
    yield from _rows(_REAL, False)
    if special is not None:
        yield from _rows(_SPECIAL, False)


OPERATIONS = tuple(op for op in _all() if exists(op.template))
"""Every operation that the installed NumPy and SciPy have."""

REFUSED = tuple(op for op in _rows(_REFUSED, False) if exists(op.template))
"""What the engine must refuse: it has no derivative, or none worth having."""
