"""Rules of shapes, joining, padding, windows and writing: values, both modes, second order.

The oracle is NumPy itself for values, and central differences of it for derivatives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import check_dtype_is_kept, check_to_second_order
from unigrad.engine import vjp
from unigrad.errors import TracingError

U = np.array([0.3, 0.2, 0.65])
V = np.array([1.3, -0.7, 2.1, 0.4])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
T = np.arange(1.0, 13.0).reshape(2, 3, 2) ** 0.5
Q = np.arange(1.0, 25.0).reshape(2, 3, 2, 2) ** 0.5
Z = np.array([0.3 + 0.4j, -0.2 + 0.9j, 0.65 - 0.3j])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
NUMPY_2 = int(np.__version__.partition(".")[0]) >= 2
windows: Any = np.lib.stride_tricks.sliding_window_view


def made(write: Any, *shape: int) -> Any:
    """A function that writes into an array of its own."""

    def f(x: Any) -> Any:
        out = np.zeros_like(x, shape=shape or x.shape) + np.sum(x) * 0.1
        write(out, x)
        return out * out

    return f


CASES: dict[str, tuple[Any, Any]] = {
    # shapes
    "reshape_c": (lambda x: np.reshape(x, (3, -1)) ** 2, T),
    "reshape_f": (lambda x: np.reshape(x, (3, -1), order="F") * x.reshape(3, 4), T),
    "reshape_numbers": (lambda x: x.reshape(4, 3) * x.reshape((4, 3), order="F"), T),
    "reshape_scalar": (lambda x: np.reshape(x, ()) ** 2, np.array([[0.4]])),
    "ravel": (lambda x: np.ravel(x) * x.ravel("F") * x.flatten(), T),
    "transpose_none": (lambda x: np.transpose(x) ** 2, T),
    **{
        f"transpose_{axes}": (lambda x, axes=axes: np.transpose(x, axes) ** 2, T)
        for axes in ((-1, 0, 1), (-2, -1, 0), (1, -1, -3), [2, 1, 0], (0, 1, 2), (-1, -3, -2))
    },
    "transpose_4": (lambda x: np.transpose(x, (-1, 0, -2, 1)) ** 2, Q),
    "transpose_method": (lambda x: x.transpose(-1, 0, 1) * x.transpose((2, 0, 1)), T),
    "transpose_vector": (lambda x: np.transpose(x, 0) * x.T, U),
    "complex_transpose": (lambda x: np.transpose(x, (-1, 0)) @ np.conj(x.T), C),
    **{
        f"moveaxis_{a}_{b}": (lambda x, a=a, b=b: np.moveaxis(x, a, b) ** 2, Q)
        for a, b in ((0, -1), (-2, 0), ((0, 1), (-1, -2)), ([3, -4], [0, 2]))
    },
    **{
        f"rollaxis_{a}_{b}": (lambda x, a=a, b=b: np.rollaxis(x, a, b) ** 2, Q)
        for a, b in ((3, 0), (-1, 1), (0, 4), (1, -1), (2, -4), (2, 2), (2, 3), (0, -2))
    },
    "swapaxes": (lambda x: np.swapaxes(x, 0, -1) ** 2 + x.swapaxes(-3, 2), T),
    "squeeze": (lambda x: np.squeeze(x[None, :, None]) * np.squeeze(x[:, None], -1), U),
    "squeeze_axes": (lambda x: np.squeeze(x[None, ..., None], (0, -1)) ** 2, R),
    "squeeze_to_scalar": (lambda x: np.squeeze(x) ** 2, np.array([[0.3]])),
    "expand_dims": (lambda x: np.expand_dims(x, (0, -1)) ** 2 + np.expand_dims(x, 1)[None], R),
    "atleast_scalar": (
        lambda x: np.atleast_1d(x) * np.atleast_2d(x) * np.atleast_3d(x),
        np.array(0.4),
    ),
    "atleast_vector": (lambda x: np.atleast_1d(x) * np.atleast_2d(x) + np.atleast_3d(x), U),
    "atleast_matrix": (lambda x: np.atleast_2d(x)[..., None] * np.atleast_3d(x), R),
    "atleast_several": (lambda x: np.multiply(*np.atleast_2d(x, x**2)), U),
    "broadcast_to": (lambda x: np.broadcast_to(x, (2, 2, 3)) ** 2, R),
    "broadcast_to_ones": (lambda x: np.broadcast_to(x[:, None, :1], (4, 2, 5, 1)) ** 2, R),
    "broadcast_arrays": (lambda x: np.multiply(*np.broadcast_arrays(x[:, :1], x[0])), R),
    "flip": (lambda x: np.flip(x) * np.flip(x, -1) * np.flip(x, (0, -2)), T),
    "flip_sides": (lambda x: np.fliplr(x) * np.flipud(x), R),
    **{f"rot90_{k}": (lambda x, k=k: np.rot90(x, k) ** 2, R) for k in range(-1, 5)},
    **{f"rot90_axes_{k}": (lambda x, k=k: np.rot90(x, k, (-1, 0)) ** 2, T) for k in range(-1, 3)},
    "roll_flat": (lambda x: np.roll(x, 2) * np.roll(x, -7), R),
    "roll_axes": (lambda x: np.roll(x, (1, -1), (0, -1)) * np.roll(x, [2, 3], (1, 1)), R),
    "roll_broadcast": (lambda x: np.roll(x, 1, (0, 1)) * np.roll(x, np.array([1, 2]), (0, 1)), R),
    "matrix_transpose": (lambda x: np.swapaxes(x, -1, -2) ** 2, T),
    "meshgrid_xy": (lambda x: np.multiply(*np.meshgrid(x, x[:2] ** 2)), U),
    "meshgrid_ij": (lambda x: sum(np.meshgrid(x, x[:2] ** 2, 2 * x, indexing="ij")) ** 2, U),
    "meshgrid_sparse": (lambda x: np.multiply(*np.meshgrid(x, x[:2], sparse=True)), U),
    "meshgrid_views": (lambda x: np.multiply(*np.meshgrid(x, V, copy=False)), U),
    "meshgrid_constant": (lambda x: np.multiply(*np.meshgrid(V, x[:, None])), U),
    "meshgrid_one": (lambda x: np.meshgrid(x, copy=False)[0] ** 2, U),
    "ix": (lambda x: np.multiply(*np.ix_(x, x[1:])), U),
    # repetition
    "repeat_flat": (lambda x: np.repeat(x, 2) ** 2, R),
    "repeat_axis": (lambda x: np.repeat(x, 3, axis=-2) * x.repeat(3, 0), R),
    "repeat_counts": (lambda x: np.repeat(x, [1, 0, 3], axis=1) ** 2, R),
    "repeat_one_count": (lambda x: np.repeat(x, [2], axis=1) ** 2, R),
    "repeat_none": (lambda x: np.repeat(x, 0, axis=1) ** 2, R),
    "repeat_scalar": (lambda x: np.repeat(x, 3) ** 2, np.array(0.3)),
    **{
        f"tile_{r}": (lambda x, r=r: np.tile(x, r) ** 2, R)
        for r in (2, (2, 1), (2, 1, 3), [1, 2], (0, 2), ())
    },
    "tile_scalar": (lambda x: np.tile(x, (2, 3)) ** 2, np.array(0.3)),
    "resize": (lambda x: np.resize(x, (3, 5)) ** 2 + np.resize(x, 5), R),
    "resize_smaller": (lambda x: np.resize(x, (2, 2)) ** 2, R),
    # diagonals
    **{f"diag_wide_{k}": (lambda x, k=k: np.diag(x, k) ** 2, R) for k in (-2, -1, 0, 1, 2, 3)},
    **{f"diag_tall_{k}": (lambda x, k=k: np.diag(x.T, k) ** 2, R) for k in (-2, -1, 0, 1, 2)},
    **{f"diag_make_{k}": (lambda x, k=k: np.diag(x, k) ** 2, U) for k in (-2, 0, 1)},
    "diagflat": (lambda x: np.diagflat(x, 1) @ np.diagflat(x, -1), R),
    **{
        f"diagonal_{o}_{a}_{b}": (lambda x, o=o, a=a, b=b: np.diagonal(x, o, a, b) ** 2, Q)
        for o, a, b in ((0, 0, 1), (1, -1, 0), (-1, 1, 2), (1, 2, -3), (0, 3, 2))
    },
    "diagonal_method": (lambda x: x.diagonal(1) * np.diagonal(x, axis1=1, axis2=0), R[:, :2]),
    "trace": (lambda x: np.trace(x) * x.trace(1) * np.trace(x, -1), R),
    "trace_axes": (lambda x: np.trace(x, 1, -1, 0) ** 2, T),
    "complex_diagonals": (lambda x: np.diag(np.diag(x)) @ x + np.trace(x), C),
    **{f"tri_{k}": (lambda x, k=k: np.tril(x, k) @ np.triu(x, k), A) for k in (-1, 0, 1)},
    "tri_stack": (lambda x: np.tril(x) * np.triu(x, -1), T),
    "tri_vector": (lambda x: np.tril(x) * np.triu(x, -1), U),
    "tri_indices": (lambda x: x[np.triu_indices_from(x)] * x[np.tril_indices_from(x)], A),
    "diag_indices": (lambda x: x[np.diag_indices_from(x)] ** 2, A),
    # joining
    "concatenate": (lambda x: np.concatenate([x, R, x**2], axis=-1), R),
    "concatenate_rows": (lambda x: np.concatenate(x) ** 2, R),
    "concatenate_flat": (lambda x: np.concatenate([x, x[0] ** 2, V], axis=None), R),
    "concatenate_lists": (lambda x: np.concatenate([x, [1.0, 2.0], [x[0], x[1]]]) ** 2, U),
    "concatenate_dtype": (lambda x: np.concatenate([x, x], dtype=complex) * 1j, U),
    "stack_first": (lambda x: np.stack([x, x**2, R]), R),
    **{f"stack_{a}": (lambda x, a=a: np.stack([x, x**2, R], axis=a), R) for a in (1, -1, -2)},
    "stack_scalars": (lambda x: np.stack([x[0], x[2] * x[1], 1.0]) ** 2, U),
    "stack_rows": (lambda x: np.stack(x, axis=1) ** 2, R),
    "vstack": (lambda x: np.vstack([x, x**2, R]) ** 2 + np.vstack([x[0], x[1]])[:1], R),
    "hstack": (lambda x: np.hstack([x, x[:, :1] ** 2]), R),
    "hstack_vectors": (lambda x: np.hstack([x, x[0], [x[1], 2.0]]) ** 2, U),
    "dstack": (lambda x: np.dstack([x, x**2]) ** 2 + np.dstack([x[0], x[1]])[0, 0, 0], R),
    "column_stack": (lambda x: np.column_stack([x[0], x.T, [1, 2, 3]]) ** 2, R),
    "append": (lambda x: np.append(x, x[:1] ** 2, axis=0)[2] * np.append(x, 3.0)[:3], R),
    "append_plain": (lambda x: np.append(V, x[0]) ** 2, R),
    "block": (lambda x: np.block([[x, x**2], [R, 2 * x]]) ** 2, R),
    "block_ranks": (lambda x: np.block([[x[0]], [x]]) ** 2, R),
    "block_vectors": (lambda x: np.block([x, x[0], 3.0]) ** 2, U),
    "block_deep": (lambda x: np.block([[[x, x**2]], [[2 * x, x]]]) ** 2, R),
    # splitting
    "split": (lambda x: np.multiply(*np.split(x, 2, axis=0)), R),
    "split_places": (lambda x: np.split(x, [1, -1], axis=1)[1] * np.split(x, (1, 5), 1)[0], R),
    "array_split": (lambda x: np.array_split(x, 2, axis=-1)[0] * np.array_split(x, 2, 1)[1], R),
    "array_split_many": (lambda x: sum(np.sum(p) ** 2 for p in np.array_split(x, 5)), U),
    "splits": (lambda x: sum(np.hsplit(x, 3)) ** 2 * sum(np.vsplit(x, [1])), R),
    "hsplit_vector": (lambda x: np.hsplit(x, [1])[1] ** 2, U),
    "dsplit": (lambda x: np.multiply(*np.dsplit(x, 2)), T),
    # adding and removing
    "insert_one": (lambda x: np.insert(x, 1, x[2] ** 2) ** 2, U),
    "insert_end": (lambda x: np.insert(x, 3, 2.0) * np.insert(x, -1, x[0]), U),
    "insert_several": (lambda x: np.insert(x, 1, x**2) ** 2, U),
    "insert_places": (lambda x: np.insert(x, [0, 2, 2], x**2) ** 2, U),
    "insert_unsorted": (lambda x: np.insert(x, [3, 0, -1], [1.0, x[0], 3.0]) ** 2, U),
    "insert_slice": (lambda x: np.insert(x, slice(None, None, 2), x[0]) ** 2, U),
    "insert_column": (lambda x: np.insert(x, 1, x[:, 0] ** 2, axis=1) ** 2, R),
    "insert_columns": (lambda x: np.insert(x, [1], x[:, :2] ** 2, axis=1) ** 2, R),
    "insert_column_list": (lambda x: np.insert(x, [1], x[:, :1] ** 2, axis=-1) ** 2, R),
    "insert_two_columns": (lambda x: np.insert(x, [0, 3], x[:, 1:], axis=1) ** 2, R),
    "insert_row": (lambda x: np.insert(x, 1, x[0] ** 2, axis=0) ** 2, R),
    "insert_rows": (lambda x: np.insert(x, 1, x, axis=0) ** 2, R),
    "insert_number": (lambda x: np.insert(x, [1, 2], x[0, 0], axis=1) ** 2, R),
    "insert_middle": (lambda x: np.insert(x, 1, x[:, 0] ** 2, axis=1) ** 2, T),
    "insert_flat": (lambda x: np.insert(x, [2, 4], x[0, :2]) ** 2, R),
    "insert_plain": (lambda x: np.insert(R, 1, x, axis=0) ** 2, U),
    "insert_none": (lambda x: np.insert(x, [], []) ** 2, U),
    "delete": (lambda x: np.delete(x, 1) ** 2, U),
    "delete_flat": (lambda x: np.delete(x, [0, -1, 0]) ** 2, R),
    "delete_axis": (lambda x: np.delete(x, -1, axis=-1) ** 2, R),
    "delete_slice": (lambda x: np.delete(x, np.s_[::2], axis=1) ** 2, R),
    "delete_mask": (lambda x: np.delete(x, [True, False, True], axis=1) ** 2, R),
    # padding
    **{f"pad_{w}": (lambda x, w=w: np.pad(x, w) ** 2, R) for w in (0, 2, (1, 2), ((1, 0), (0, 2)))},
    "pad_number": (lambda x: np.pad(x, 1, constant_values=2.0) ** 2, R),
    "pad_numbers": (lambda x: np.pad(x, 2, constant_values=((1, 2), (3, 4))) ** 2, R),
    "pad_traced": (lambda x: np.pad(x, (1, 2), constant_values=x[0, 0] ** 2) ** 2, R),
    "pad_traced_ends": (lambda x: np.pad(x, 2, constant_values=(x[0, 0], 3.0)) ** 2, R),
    "pad_traced_all": (lambda x: np.pad(x, 2, constant_values=x[:, :2]) ** 2, R),
    "pad_scalar_width": (lambda x: np.pad(x, (2,), mode="edge") ** 2, U),
    **{
        f"pad_{m}_{w}": (lambda x, m=m, w=w: np.pad(x, w, mode=m) ** 2, R)
        for m in ("edge", "reflect", "symmetric", "wrap")
        for w in (1, 2, 7, ((0, 1), (2, 0)))
    },
    **{
        f"pad_{m}_odd_{w}": (lambda x, m=m, w=w: np.pad(x, w, m, reflect_type="odd") ** 2, R)
        for m in ("reflect", "symmetric")
        for w in (1, 5, ((0, 1), (2, 0)))
    },
    **{
        f"pad_{m}_{n}": (lambda x, m=m, n=n: np.pad(x, (2, 1), mode=m, stat_length=n) ** 2, R)
        for m in ("mean", "maximum", "minimum", "median")
        for n in (None, 2, (1, 2), 9)
    },
    "pad_ramp": (lambda x: np.pad(x, (2, 3), "linear_ramp") ** 2, R),
    "pad_ramp_ends": (lambda x: np.pad(x, 2, "linear_ramp", end_values=(5, -4)) ** 2, R),
    "pad_ramp_traced": (lambda x: np.pad(x, 2, "linear_ramp", end_values=x[0, 0] ** 2) ** 2, R),
    "complex_pad": (lambda x: np.pad(x, 2, constant_values=x[0]) * np.pad(x, 2, "reflect"), Z),
    # windows
    "windows": (lambda x: windows(x, 2) ** 2, V),
    "windows_2d": (lambda x: windows(x, (2, 2)) ** 2, A),
    "windows_axis": (lambda x: windows(x, 2, axis=-1) ** 2, R),
    "windows_axes": (lambda x: windows(x, (2, 1), axis=(1, 0)) ** 2, T),
    "windows_twice": (lambda x: windows(x, (2, 2), axis=(0, 0)) ** 2, V),
    "complex_windows": (lambda x: windows(x, 2) ** 2, Z),
    "along_axis": (lambda x: np.apply_along_axis(lambda r: r[::-1] * np.sum(r), 1, x), R),
    "along_axis_numbers": (lambda x: np.apply_along_axis(np.prod, 0, x), R),
    "along_axis_matrices": (lambda x: np.apply_along_axis(np.diag, 1, x) ** 2, T),
    "over_axes": (lambda x: np.apply_over_axes(np.sum, x, [0, -1]) ** 2, T),
    "vectorize": (lambda x: np.vectorize(lambda a, b: a * b if a > 0 else b)(x, 2.0) + 0 * x, R),
    "choose": (lambda x: np.choose([2, 0, 1], [x, x**2, 3.0]), U),
    "choose_modes": (lambda x: np.choose([5, -1, 1], [x, x**2], mode="wrap"), U),
    "take_modes": (lambda x: np.take(x, [5, -4], mode="wrap") * np.take(x, [9], mode="clip"), U),
    "compress": (lambda x: np.compress([True, False, True], x, axis=1) ** 2, R),
    "extract": (lambda x: np.extract(x > 0, x) ** 2, R),
    # arrays made of objects
    "full": (lambda x: np.full(3, x[0]) * x, U),
    "full_like": (lambda x: np.full_like(x, x[0] ** 2) * x, U),
    "ascontiguous": (lambda x: np.ascontiguousarray(x.T) * x.T, R),
    "require": (lambda x: np.require(x, requirements="C") * np.asfortranarray(x), R),
    # writing
    "copyto": (made(lambda out, x: np.copyto(out, x**2)), R),
    "copyto_where": (made(lambda out, x: np.copyto(out, x[0] ** 2, where=R > 0)), R),
    "put": (made(lambda out, x: np.put(out, [0, -1, 2], x[0] ** 2)), R),
    "put_cycled": (made(lambda out, x: np.put(out, [0, 7, 2], [x[0, 0], 2.0], mode="wrap")), R),
    "put_clip": (made(lambda out, x: np.put(out, [1, 9], x[0, 0], mode="clip")), R),
    "place": (made(lambda out, x: np.place(out, R > 0, x[0, :2] ** 2)), R),
    "putmask": (made(lambda out, x: np.putmask(out, R > 0, x[0, :2] ** 2)), R),
    "put_along_axis": (
        made(lambda out, x: np.put_along_axis(out, np.array([[1], [0]]), x[:, :1] ** 2, 1)),
        R,
    ),
    "put_along_flat": (
        made(lambda out, x: np.put_along_axis(out, np.array([4, 0]), x[0, :2], None)),
        R,
    ),
    "fill_diagonal": (made(lambda out, x: np.fill_diagonal(out, x[0, 0] ** 2)), R),
    "fill_diagonal_many": (made(lambda out, x: np.fill_diagonal(out, x[0]), 4, 4), R),
    "fill_diagonal_wrap": (made(lambda out, x: np.fill_diagonal(out, x[0], wrap=True), 7, 3), R),
    "fill_diagonal_tall": (made(lambda out, x: np.fill_diagonal(out, x[0]), 7, 3), R),
    "fill_diagonal_cube": (made(lambda out, x: np.fill_diagonal(out, x[0] ** 2), 3, 3, 3), R),
    # empty
    "empty_shapes": (lambda x: np.flip(np.roll(x.T, 1)).reshape(2, 0) ** 2, np.zeros((0, 2))),
    "empty_join": (lambda x: np.concatenate([x, R[:, :0], x]) ** 2, np.zeros((2, 0))),
}
if hasattr(np, "unstack"):
    CASES["unstack"] = (lambda x: np.multiply(*np.unstack(x)), R)
    CASES["unstack_axis"] = (lambda x: sum(np.unstack(x, axis=-1)) ** 2, R)
    CASES["linalg_diagonal"] = (lambda x: np.linalg.diagonal(x, offset=1) ** 2, T)
    CASES["linalg_trace"] = (lambda x: np.linalg.trace(x) ** 2, T)
    CASES["matrix_transpose_function"] = (lambda x: np.matrix_transpose(x) ** 2, T)
    CASES["pad_dict"] = (lambda x: np.pad(x, {-1: (1, 2)}, mode="edge") ** 2, R)


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order_and_both_modes(name: str) -> None:
    check_to_second_order(name, *CASES[name])


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1].dtype == np.float64])
def test_dtype_is_kept(name: str) -> None:
    check_dtype_is_kept(*CASES[name])


def write(target: Any, change: Any) -> Any:
    change(target)
    return target


REFUSED: dict[str, tuple[Any, str]] = {
    "reshape_order": (lambda x: np.reshape(x, -1, order="A"), "order='C'"),
    "ravel_order": (lambda x: np.ravel(x, order="K"), "order='C'"),
    "flatten_order": (lambda x: x.flatten("K"), "order='C'"),
    "trim_zeros": (lambda x: np.trim_zeros(x[0]), "start:stop"),
    "pad_empty": (lambda x: np.pad(x, 1, mode="empty"), "numpy.concatenate"),
    "pad_function": (lambda x: np.pad(x, 1, mode=lambda *_: None), "numpy.concatenate"),
    "windows_written": (lambda x: windows(x, 2, axis=0, writeable=True), "writeable"),
    "insert_rounds": (lambda x: np.insert(np.arange(3), 1, x[0, 0]), "astype"),
    "choose_traced": (lambda x: np.choose(x, [x, x]), "stop_gradient"),
    "stack_out": (lambda x: np.stack([x, x], out=np.zeros((2, 2, 3))), "out="),
    "copyto_plain": (lambda x: write(np.zeros(3), lambda y: np.copyto(y, x[0])), "zeros_like"),
    "put_plain": (lambda x: write(np.zeros(3), lambda y: np.put(y, [0], x[0])), "zeros_like"),
    "place_plain": (lambda x: write(np.zeros(3), lambda y: np.place(y, y == 0, x)), "zeros_like"),
    "putmask_plain": (
        lambda x: write(np.zeros(3), lambda y: np.putmask(y, y == 0, x)),
        "zeros_like",
    ),
    "fill_diagonal_plain": (
        lambda x: write(np.zeros((3, 3)), lambda y: np.fill_diagonal(y, x[0])),
        "traced",
    ),
    "argument_written": (lambda x: write(x, lambda y: np.fill_diagonal(y, 0.0)), "x.copy()"),
    "flip_written": (lambda x: write(x * 1, lambda y: np.copyto(np.flip(y), 0.0)), "view"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_type(name: str) -> None:
    f, advice = REFUSED[name]
    with pytest.raises(TracingError, match=advice):
        vjp(lambda x: (f(x),), [R])


INVALID: dict[str, Any] = {
    "rollaxis": lambda x: np.rollaxis(x, 2),
    "rollaxis_start": lambda x: np.rollaxis(x, 1, 4),
    "rot90_axes": lambda x: np.rot90(x, 1, (0, -2)),
    "rot90_twice": lambda x: np.rot90(x, 2, (0, 5)),
    "transpose_repeated": lambda x: np.transpose(x, (0, -2)),
    "reshape": lambda x: np.reshape(x, (4, -1)),
    "diag_rank": lambda x: np.diag(x[None]),
    "diagonal_axes": lambda x: np.diagonal(x, 0, 1, 1),
    "meshgrid_indexing": lambda x: np.meshgrid(x, x, indexing="yx"),
    "repeat_counts": lambda x: np.repeat(x, [1, 2], axis=1),
    "repeat_axis": lambda x: np.repeat(x, 2, axis=2),
    "concatenate_shapes": lambda x: np.concatenate([x, x.T]),
    "stack_shapes": lambda x: np.stack([x, x.T]),
    "stack_axis": lambda x: np.stack([x, x], axis=4),
    "block_depths": lambda x: np.block([[x], x]),
    "block_tuple": lambda x: np.block([x, (x, x)]),
    "split_unequal": lambda x: np.split(x, 2, axis=1),
    "split_none": lambda x: np.array_split(x, 0),
    "split_axis": lambda x: np.array_split(x, 1, axis=2),
    "vsplit_vector": lambda x: np.vsplit(x[0], 3),
    "dsplit_matrix": lambda x: np.dsplit(x, 3),
    "hsplit_number": lambda x: np.hsplit(x[0, 0], 1),
    "insert_place": lambda x: np.insert(x, 9, 1.0),
    "delete_place": lambda x: np.delete(x, 5, axis=1),
    "pad_width": lambda x: np.pad(x, 1.5),
    "pad_negative": lambda x: np.pad(x, -1),
    "pad_option": lambda x: np.pad(x, 1, mode="edge", end_values=2),
    "windows_long": lambda x: windows(x, 4, axis=1),
    "over_axes": lambda x: np.apply_over_axes(lambda a, axis: a.sum(), x, [0]),
    "choose_range": lambda x: np.choose([3], [x, x]),
    "put_place": lambda x: np.put(x * 1, [7], 1.0),
    "fill_diagonal_vector": lambda x: np.fill_diagonal(x[0] * 1, 1.0),
    "fill_diagonal_shape": lambda x: np.fill_diagonal(x[None] * 1, 1.0),
    "copyto_complex": lambda x: np.copyto(x * 1, 1j * R),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_numpy_rejects_is_rejected(name: str) -> None:
    f = INVALID[name]
    with pytest.raises((ValueError, TypeError, IndexError)):
        f(R)
    with pytest.raises((ValueError, TypeError, IndexError)):
        vjp(lambda x: (f(x),), [R])


def test_several_results_come_as_numpy_gives_them() -> None:
    for f in (
        lambda x: np.atleast_2d(x, x),
        lambda x: np.broadcast_arrays(x, x),
        lambda x: np.meshgrid(x, x),
        lambda x: np.gradient(x),
        lambda x: np.split(x, 2),
    ):
        kinds: list[type] = []
        vjp(lambda x, f=f, kinds=kinds: (kinds.append(type(f(x))), x)[1:], [R])
        assert kinds == [type(f(R))]


def test_views_follow_and_copies_do_not() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        first, _ = np.split(y, 2)
        copied = np.tile(y, 1)
        stacked = np.stack([y, y])
        framed = np.pad(y, 0, mode="mean")
        y[0] = 7.0
        return np.stack([np.sum(first), np.sum(copied), np.sum(stacked), np.sum(framed)])

    (value,), _ = vjp(lambda x: (f(x),), [R])
    np.testing.assert_allclose(value, f(R))


def test_a_thousand_scalars_are_stacked_in_linear_time() -> None:
    x = np.arange(1000.0)
    (value,), pullback = vjp(lambda y: (np.sum(np.stack([v * v for v in y])),), [x])
    np.testing.assert_allclose(pullback([np.ones_like(value)])[0], 2 * x)
