"""Every rule of the engine against differences, to second order: one line for each case.

The oracle is independent of the rules: central differences of the value for the gradient, and
of the gradient for the second derivative, along random directions, in real or complex arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import check_dtype_is_kept, check_to_second_order

U = np.array([0.3, 0.2, 0.65])
V = np.array([1.3, -0.7, 2.1, 0.4])
A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
T = np.arange(1.0, 13.0).reshape(2, 3, 2) ** 0.5
SQUARE = T[:, :2]
B = np.stack([A, A.T @ A + 1])
Z = np.array([0.3 + 0.4j, -0.2 + 0.9j, 0.65 - 0.3j])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
MASK = np.array([True, False, True])


def herm(a: Any) -> Any:
    return a @ np.conj(np.swapaxes(a, -1, -2))


def written(x: Any) -> Any:
    out = np.zeros_like(x, shape=(2, *x.shape))
    out[0] = x
    out[1, 1:] = x[1:] * out[0, :-1]
    out[1, 1:] *= out[0, 1:]
    out[:, 0] += x[2] ** 2
    out[[0, 0], [1, 1]] = x[:2]
    return out


def added_at(x: Any) -> Any:
    out = np.zeros_like(x)
    np.add.at(out, [0, 0, 2], x**2)
    return out


UNARY = """
    negative positive absolute fabs sign exp exp2 expm1 log log2 log10 log1p sqrt cbrt square
    reciprocal sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arctanh deg2rad rad2deg
    floor ceil trunc rint conjugate nan_to_num real imag angle sum mean prod amax amin var std
    cumsum cumprod ravel sort median ptp diff transpose copy nansum nanmean nanprod unwrap
"""
HOLOMORPHIC = """
    negative exp expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan arcsin arccos
    arctan sinh cosh tanh arcsinh arctanh conjugate real imag angle absolute sum mean prod var
    std cumsum cumprod ravel copy
"""
BINARY = """
    add subtract multiply divide power arctan2 hypot logaddexp logaddexp2 maximum minimum fmax
    fmin remainder fmod copysign floor_divide dot inner outer kron vdot matmul float_power
"""
COMPLEX_BINARY = "add subtract multiply divide power dot inner outer kron vdot matmul"


def beside(name: str, shift: complex) -> Any:
    return lambda x: getattr(np, name)(x, shift + x[::-1] ** 2)


CASES: dict[str, tuple[Any, Any]] = {
    **{n: (getattr(np, n), U) for n in UNARY.split()},
    **{f"complex_{n}": (getattr(np, n), Z) for n in HOLOMORPHIC.split()},
    **{n: (beside(n, 0.3), U) for n in BINARY.split()},
    **{f"complex_{n}": (beside(n, 1j), Z) for n in COMPLEX_BINARY.split()},
    "arccosh": (lambda x: np.arccosh(x + 2), U),
    "real_times_complex": (lambda x: x * Z, U),
    "real_in_complex": (lambda x: np.abs(x * Z + 1j * np.sin(x)), U),
    "real_to_complex_power": (lambda x: (x + 0.1) ** Z, U),
    "operators": (lambda x: (2 - x) / (1 + x) ** 2 - (-x) ** 2 + 2**x + abs(x - 0.5) + x % 0.4, U),
    "integer_power": (lambda x: x**3 + x**-1 + x**0 + x**1 + x**2, V),
    "heaviside": (lambda x: np.heaviside(x, 0.5) * x, V),
    "ldexp": (lambda x: np.ldexp(x, 2), U),
    "round": (lambda x: np.round(x, 1) * x, V + 0.012),
    "clip": (lambda x: np.clip(x, 0.25, 0.5), U),
    "clip_bounds": (lambda x: np.clip(V[:3], x[0] - 0.8, x * 2), U),
    "clip_method": (lambda x: x.clip(0.25) + x.clip(max=0.4), U),
    "where": (lambda x: np.where(x > 0.25, x**2, 3 * x), U),
    "where_broadcast": (lambda x: np.where(R > 0, x, x[0] ** 2), U),
    "select": (lambda x: np.select([x > 0.5, x > 0.25], [x**2, x**3], default=1.0), U),
    "mixed_scalars": (lambda x: np.float64(3) * x[0] + np.arange(3.0) @ x + x[1] ** x[2], U),
    # reductions
    "sum_axes": (lambda x: np.sum(x, axis=(0, -1), keepdims=True) * x.sum(1)[0], T),
    "sum_reduce": (lambda x: np.add.reduce(x) + np.multiply.reduce(x) * np.maximum.reduce(x), R),
    "accumulate": (lambda x: np.add.accumulate(x) * np.multiply.accumulate(x, axis=1), R),
    "ufunc_outer": (lambda x: np.multiply.outer(x, x**2), U),
    "mean_axes": (lambda x: np.mean(x, axis=(0, 2)) * x.mean(keepdims=True), T),
    "prod_axis": (lambda x: np.prod(x, axis=1, keepdims=True) + x.prod((0, 1)), T[..., :1]),
    "prod_zeros": (np.prod, np.array([0.0, 2.0, 3.0, 0.0])),
    "prod_axis_zeros": (lambda x: np.prod(x, axis=1), R * [0, 1, 1]),
    "cumprod_zeros": (np.cumprod, np.array([2.0, 0.0, 3.0, -1.0])),
    "cumprod_axis": (lambda x: np.cumprod(x, axis=0) * x.cumsum(-1), R),
    "max_axis": (lambda x: np.max(x, axis=1, keepdims=True) + x.min(0), R),
    "var_ddof": (lambda x: np.var(x, axis=0, ddof=1) + np.std(x, ddof=1, axis=(0, 1)), R),
    "complex_var": (lambda x: np.var(x, ddof=1) * np.std(x), Z),
    "average": (lambda x: np.average(x, axis=1, weights=x[0] ** 2), R),
    "median_axis": (lambda x: np.median(x, axis=(0, 2), keepdims=True), T),
    "nan": (lambda x: np.nansum(np.where(MASK, x, np.nan)) * np.nanmean(x), U),
    # shapes
    "reshape": (lambda x: np.reshape(x, (3, -1)) * x.reshape(3, 4, order="F"), T),
    "transpose_negative": (lambda x: np.transpose(x, (-1, 0, 1)) * x.transpose(2, 0, 1), T),
    "transposes": (lambda x: x.T * np.moveaxis(np.swapaxes(x, 0, 2), (0, 1), (0, 1)), T),
    "moveaxis": (lambda x: np.moveaxis(x, [0, 1], [-1, 0]) + np.rollaxis(x, 2, 0)[0, 0, 0], T),
    "squeeze": (lambda x: np.squeeze(x[None, :, None]) + np.expand_dims(x, (0, 2))[0, :, 0], U),
    "broadcast": (lambda x: np.broadcast_to(x, (2, 3)) * np.broadcast_arrays(x, R)[0], U),
    "flips": (lambda x: np.flip(x) + np.flip(x, (0, 1)) + np.fliplr(x) + np.flipud(x), R),
    "rot90": (lambda x: np.rot90(x) + np.rot90(x, 3) + np.rot90(x, 2).T, R),
    "roll": (lambda x: np.roll(x, 2) * np.roll(x, (1, -1), (0, 1)) + np.roll(x, 1, 1), R),
    "tri": (lambda x: np.tril(x) @ np.triu(x, 1), A),
    "atleast": (lambda x: np.atleast_3d(x) + np.atleast_2d(x) + np.atleast_1d(x[0]), U),
    "meshgrid": (lambda x: np.multiply(*np.meshgrid(x, x[:2], indexing="ij")), U),
    "repeat": (lambda x: np.repeat(x, [1, 0, 3], axis=1) + np.repeat(x, 2)[0], R),
    "tile": (lambda x: np.tile(x, (2, 1, 2)) * np.tile(x[0, 0], 3)[0], R),
    "diagonals": (
        lambda x: np.diagonal(x, 1) + np.diag(x, -1) + np.trace(x) + x.trace(1),
        R @ R.T @ R,
    ),
    "diag_tall": (lambda x: np.diag(x.T, 1)[0] * np.diag(x, 1), R),
    "diag_make": (lambda x: np.diag(x, -1) @ np.diagflat(x, 1), U),
    "diagonal_batch": (lambda x: np.diagonal(x, axis1=0, axis2=2) + np.trace(x)[:2, None][0], T),
    "pad": (lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=2.0), R),
    **{
        f"pad_{m}": (lambda x, m=m: np.pad(x, 2, mode=m), R)
        for m in ("edge", "reflect", "symmetric", "wrap")
    },
    "diff_n": (lambda x: np.diff(x, n=2, axis=0, prepend=0.0, append=x[:1]), R),
    "ediff1d": (lambda x: np.ediff1d(x, to_end=x[:1]), U),
    # joining and splitting
    "concatenate": (lambda x: np.concatenate([x, R, x**2], axis=1), R),
    "concatenate_flat": (lambda x: np.concatenate([x, x[0]], axis=None), R),
    "stacks": (lambda x: np.stack([x, x**2], -1) * np.dstack([x, x])[0, :, :], U),
    "hstack": (lambda x: np.hstack([x, x[:1] ** 2]) * np.append(x, x[0]), U),
    "vstack": (lambda x: np.vstack([x, x**2]) @ np.column_stack([x, U]), U),
    "block": (lambda x: np.block([[x, x**2], [R, x]]), R),
    "split": (lambda x: np.split(x, 3, axis=1)[1] * np.array_split(x, 2, axis=1)[0], R),
    "split_at": (lambda x: np.split(x, [1, 2])[0] * np.hsplit(x, 3)[2] + sum(np.vsplit(x, 2)), R),
    "insert_delete": (lambda x: np.insert(x, 1, x[2] ** 2) + np.delete(V, 0).sum() * x[0], U),
    # indexing
    "index_slices": (lambda x: x[::-1, 1:, None] * x[..., 0][:, None, None] + x[-1, -2:], R),
    "index_repeated": (lambda x: x[[0, 0, 2]] * x[np.array([[1, 1, 1]])], U),
    "index_mixed": (lambda x: x[:, [0, 2, 2], None, 0] + x[1, ..., [0, 1]].sum(), T),
    "index_boolean": (lambda x: x[R > 0] * x[:, MASK].sum(), R),
    "index_ellipsis": (lambda x: x[...] * x[()] + x[0, ...][1], R),
    "index_empty": (lambda x: np.sum(x[[]]) + x[3:].sum() + x, U),
    "take": (lambda x: np.take(x, [[0, 2], [0, 0]], axis=1) + x.take(4), R),
    "take_modes": (lambda x: np.take(x, [5, -4], mode="wrap") * np.take(x, [9], mode="clip"), U),
    "take_along": (lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1), R),
    "take_along_broadcast": (lambda x: np.take_along_axis(x, np.array([[1, 1]]), axis=1), R),
    "sort_axis": (lambda x: np.sort(x, axis=0) * np.partition(x, 1, axis=-1), R),
    "compress": (lambda x: np.compress(MASK, x) + np.extract(MASK, x), U),
    "iteration": (lambda x: sum(row * i for i, row in enumerate(x)), R),
    "written": (written, U),
    "added_at": (added_at, U),
    # products
    **{
        f"matmul_{a}{b}": (lambda x, a=a, b=b: SHAPES[a](x) @ SHAPES[b](x**2), T)
        for a, b in ("12", "21", "22", "13", "31", "33", "23", "32", "11", "34", "43")
    },
    "complex_matmul": (lambda x: x @ np.conj(x).T @ x[0], C),
    "dot_ranks": (lambda x: np.dot(x, x[0].T) + np.dot(x, 2.0)[0, 0, 0], T),
    "tensordot": (
        lambda x: np.tensordot(x, x, ([0, -1], [0, 2])) @ np.tensordot(x, x, 1)[0, :, :, 0],
        SQUARE,
    ),
    "tensordot_outer": (lambda x: np.tensordot(x, x**2, axes=0), U),
    "cross": (lambda x: np.cross(x, R**2) + np.cross(x.T, R.T, axis=0).T, R),
    "convolve": (lambda x: np.convolve(x, x[1:] ** 2, "same") + np.convolve(V, x, "valid")[0], U),
    **{
        f"einsum_{k}": (lambda x, s=s: np.einsum(s, *[x] * (s.count(",") + 1)), A)
        for k, s in enumerate(
            (
                "ij,jk->ik",
                "ii",
                "ii->i",
                "ij->ji",
                "ij->",
                "ij,ij->i",
                "ij,kl->ijkl",
                "ij,jk,kl",
                "...j,j...->...",
                "i...->...",
                "ij,ik->i",
                "ii,jj->ij",
                "...",
                "ba",
                "ij,ii->j",
            )
        )
    },
    "einsum_dots": (lambda x: np.einsum("...ij,...j->...i", x, x[0, 0]), B),
    "einsum_lists": (lambda x: np.einsum(x, [0, 1], x, [1, 2], [0, 2]), A),
    "einsum_ones": (lambda x: np.einsum("ij,kj->ik", x[:, :1], x), A),
    "complex_einsum": (lambda x: np.einsum("ij,jk->ki", x, x), C),
    # linear algebra
    "solve": (lambda a: np.linalg.solve(a, a[0]) + np.linalg.solve(a, a**2)[0], A),
    "solve_batch": (lambda a: np.linalg.solve(a, a * 2) + np.linalg.solve(a[0], a), B),
    "complex_solve": (lambda a: np.linalg.solve(a, a[0] ** 2), C),
    "inv": (np.linalg.inv, B),
    "complex_inv": (np.linalg.inv, C),
    "pinv": (lambda a: np.linalg.pinv(a) + np.linalg.pinv(a.T).T, R),
    "det": (np.linalg.det, B),
    "det_singular": (np.linalg.det, np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])),
    "det_rank_one": (np.linalg.det, np.ones((3, 3))),
    "complex_det": (np.linalg.det, C),
    "slogdet": (lambda a: np.linalg.slogdet(a)[1], B),
    "complex_slogdet": (lambda a: np.linalg.slogdet(a)[0] * np.linalg.slogdet(a)[1], C),
    "cholesky": (lambda a: np.linalg.cholesky(herm(a)), B),
    "complex_cholesky": (lambda a: np.linalg.cholesky(herm(a)), C),
    "eigh": (lambda a: np.abs(np.linalg.eigh(herm(a))[1]), B),
    "eigh_values": (lambda a: np.linalg.eigh(herm(a))[0] * np.linalg.eigvalsh(herm(a)), A),
    "complex_eigh": (lambda a: np.abs(np.linalg.eigh(herm(a))[1]), C),
    "svd": (lambda a: np.abs(np.linalg.svd(a)[0]) + np.abs(np.linalg.svd(a)[2]), A),
    "svd_wide": (lambda a: np.abs(np.linalg.svd(a, full_matrices=False)[2]), R),
    "svd_tall": (lambda a: np.abs(np.linalg.svd(a.T, full_matrices=False)[0]), R),
    "svd_full": (lambda a: np.linalg.svd(a)[1] * np.linalg.svd(a, compute_uv=False), R),
    "complex_svd": (
        lambda a: (lambda u, s, vh: u[:, :2] @ (np.exp(s[:2, None]) * vh[:2]))(*np.linalg.svd(a)),
        C,
    ),
    "complex_svd_tall": (
        lambda a: (lambda u, s, vh: (u * np.sin(s)) @ vh)(
            *np.linalg.svd(a[:, :2], full_matrices=False)
        ),
        C,
    ),
    "qr": (lambda a: np.abs(np.linalg.qr(a)[0]) @ np.abs(np.linalg.qr(a)[1]), B),
    "qr_tall": (lambda a: np.abs(np.linalg.qr(a.T)[0]), R),
    "qr_wide": (lambda a: np.abs(np.linalg.qr(a)[1]), R),
    "complex_qr": (lambda a: (lambda q, r: np.abs(q @ np.abs(r)))(*np.linalg.qr(a)), C),
    "matrix_power": (lambda a: np.linalg.matrix_power(a, 5) + np.linalg.matrix_power(a, -2), A),
    "multi_dot": (lambda a: np.linalg.multi_dot([a, a.T, a[0]]), A),
    "norm": (lambda a: np.linalg.norm(a) * np.linalg.norm(a, axis=1, keepdims=True), R),
    "complex_norm": (lambda a: np.linalg.norm(a) * np.linalg.norm(a, 1, axis=1), C),
    **{
        f"norm_{o}": (lambda a, o=o: np.linalg.norm(a, o) * np.linalg.norm(a[0], o), A)
        for o in (1, -1, 2, np.inf, -np.inf)
    },
    **{f"norm_{o}": (lambda a, o=o: np.linalg.norm(a, o), R) for o in ("fro", "nuc", -2)},
    "norm_3": (lambda a: np.linalg.norm(a, 3, axis=0), R),
}
SHAPES: dict[str, Any] = {
    "1": lambda x: x[0, :2, 0],
    "2": lambda x: x[0, :2],
    "3": lambda x: x[:, :2],
    "4": lambda x: x[:, None, :2] * 1.0,
}


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order(name: str) -> None:
    check_to_second_order(name, *CASES[name])


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1].dtype == np.float64])
def test_dtype_is_kept(name: str) -> None:
    check_dtype_is_kept(*CASES[name])
