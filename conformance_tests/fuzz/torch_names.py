"""PyTorch's functions under NumPy's names and options, as far as the fuzzer's programs use them.

Only an oracle: a program whose value comes out different is not compared, and one that needs
more than this is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

try:
    import torch
except ModuleNotFoundError:  # collected for its doctests where PyTorch is missing
    torch = None

__all__ = ["Names", "numpy_names", "special_names"]


class Names:
    """Functions by name: those given, else those of a library."""

    def __init__(self, library: Any, **given: Any) -> None:
        self.library = library
        self.given = given

    def __getattr__(self, name: str) -> Any:
        return self.given[name] if name in self.given else getattr(self.library, name)


class Binary:
    """A ufunc of two arguments, with the methods that the programs call."""

    def __init__(self, fn: Any, reduce: Any = None, accumulate: Any = None) -> None:
        self.fn = fn
        self.reduce = reduce
        self.accumulate = accumulate

    def __call__(self, x: Any, y: Any) -> Any:
        return self.fn(x, array(y, x))

    def outer(self, x: Any, y: Any) -> Any:
        return self.fn(x.reshape((*x.shape, *[1] * y.ndim)), y)


def array(y: Any, like: Any = None) -> Any:
    if isinstance(y, torch.Tensor):
        return y
    if isinstance(y, (list, tuple)) and any(isinstance(e, torch.Tensor) for e in y):
        return torch.stack([array(e) for e in y])
    return torch.tensor(y, dtype=like.dtype if isinstance(y, float) and like is not None else None)


def reduction(fn: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        dim = tuple(range(x.ndim)) if axis is None else axis
        return fn(x, dim, keepdim=keepdims, **options)

    return reduced


def scan(fn: Callable[..., Any]) -> Callable[..., Any]:
    def scanned(x: Any, axis: Any = None) -> Any:
        return fn(x.reshape(-1), 0) if axis is None else fn(x, axis)

    return scanned


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    for i in sorted((i % x.ndim for i in axes), reverse=True):
        x = torch.prod(x, i, keepdim=keepdims)
    return x


def spread(fn: Callable[..., Any]) -> Callable[..., Any]:
    return reduction(lambda x, dim, keepdim, ddof=0: fn(x, dim, correction=ddof, keepdim=keepdim))


def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return torch.mean(x, axis)
    w = weights.reshape((-1, *[1] * (x.ndim - 1)))
    return (x * w).sum(0) / weights.sum()


def sections(x: Any, parts: Any, axis: int = 0) -> Any:
    return torch.tensor_split(x, parts, axis)


def take(x: Any, indices: Any, axis: Any = None, mode: Any = None) -> Any:
    if mode is not None:
        raise NotImplementedError(mode)
    return (
        x.reshape(-1)[indices] if axis is None else x[(slice(None),) * (axis % x.ndim) + (indices,)]
    )


def deleted(x: Any, i: int, axis: int) -> Any:
    assert i == 0
    return x.narrow(axis, 1, x.shape[axis] - 1)


def joined(xs: Sequence[Any], axis: Any = 0) -> Any:
    return torch.cat([x.reshape(-1) for x in xs], 0) if axis is None else torch.cat(list(xs), axis)


def ordered(x: Any, axis: Any = -1) -> Any:
    return torch.sort(x.reshape(-1) if axis is None else x, axis or 0)[0]


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None) -> Any:
    if prepend is not None:
        prepend = torch.full_like(x.narrow(axis, 0, 1), prepend)
    return torch.diff(x, n, axis, prepend=prepend)


def trace(x: Any, k: int = 0) -> Any:
    return torch.diagonal(x, k, 0, 1).sum(-1)


def interpolated(scale: float) -> Callable[..., Any]:
    def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear") -> Any:
        shares = torch.as_tensor(q, dtype=x.dtype) / scale
        return torch.quantile(x, shares, axis, interpolation=method)

    return quantile


def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return torch.quantile(x, 0.5, axis, keepdim=keepdims)


def select(conditions: Any, choices: Any, default: Any) -> Any:
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        default = torch.where(condition, choice, default)
    return default


def einsum(labels: str, *operands: Any, optimize: bool = False) -> Any:
    return torch.einsum(labels, *operands)


def transform(name: str) -> Callable[..., Any]:
    """A function of ``torch.fft`` with NumPy's options."""
    fn = getattr(torch.fft, name)
    renamed = {"axis": "dim", "axes": "dim"}
    return lambda x, **options: fn(x, **{renamed.get(k, k): v for k, v in options.items()})


def numpy_names() -> Names:
    """What stands for ``numpy``."""
    fourier = {
        **{n: transform(n) for n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
        **{n: transform(n) for n in ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2")},
        **{n: transform(n) for n in ("fftshift", "ifftshift")},
    }
    linalg = Names(
        torch.linalg,
        svd=lambda x, full_matrices=True, compute_uv=True: (
            torch.linalg.svd(x, full_matrices) if compute_uv else torch.linalg.svdvals(x)
        ),
        norm=lambda x, ord=None, axis=None, keepdims=False: torch.linalg.norm(
            x, ord, axis, keepdims
        ),
        qr=lambda x, mode="reduced": (
            torch.linalg.qr(x)[1] if mode == "r" else torch.linalg.qr(x, mode)
        ),
    )
    sums, products = reduction(torch.sum), scan(torch.cumprod)
    real = {
        "real": lambda x: torch.real(x) if x.is_complex() else x,
        "imag": lambda x: torch.imag(x) if x.is_complex() else torch.zeros_like(x),
        "iscomplexobj": torch.is_complex,
        "shape": lambda x: tuple(x.shape),
        "conjugate": torch.conj,
        "copy": torch.clone,
        "array": array,
        "eye": lambda n: torch.eye(n, dtype=torch.float64),
        "ones": lambda n: torch.ones(n, dtype=torch.float64),
    }
    shapes = {
        "transpose": lambda x, axes: x.permute(axes),
        "expand_dims": torch.unsqueeze,
        "rollaxis": lambda x, axis: torch.moveaxis(x, axis, 0),
        "repeat": lambda x, n, axis=None: torch.repeat_interleave(x, n, axis),
        "tile": lambda x, reps: torch.tile(x, (reps,) if isinstance(reps, int) else reps),
        "flip": lambda x, axis=None: torch.flip(
            x, tuple(range(x.ndim)) if axis is None else (axis,)
        ),
        "roll": lambda x, shift, axis=None: torch.roll(x, shift, axis),
        "trace": trace,
        "concatenate": joined,
        "append": lambda x, y: joined([x, y], None),
        "split": sections,
        "array_split": sections,
        "delete": deleted,
        "take": take,
        "take_along_axis": torch.take_along_dim,
        "sort": ordered,
        "where": torch.where,
        "select": select,
        "extract": lambda mask, x: x[mask],
        "diff": diff,
    }
    reductions = {
        "sum": sums,
        "mean": reduction(torch.mean),
        "prod": prod,
        "var": spread(torch.var),
        "std": spread(torch.std),
        "average": average,
        "max": reduction(torch.amax),
        "min": reduction(torch.amin),
        "amax": reduction(torch.amax),
        "amin": reduction(torch.amin),
        "nansum": reduction(torch.nansum),
        "nanmean": reduction(torch.nanmean),
        "cumsum": scan(torch.cumsum),
        "cumprod": products,
        "median": median,
        "quantile": interpolated(1.0),
        "percentile": interpolated(100.0),
        "nanmedian": lambda x, axis: torch.nanquantile(x, 0.5, axis),
    }
    arithmetic = {
        "add": Binary(torch.add, sums, scan(torch.cumsum)),
        "subtract": Binary(torch.subtract),
        "multiply": Binary(torch.multiply, prod, products),
        "divide": Binary(torch.divide),
        "power": torch.pow,
        "maximum": Binary(torch.maximum, reduction(torch.amax)),
        "minimum": Binary(torch.minimum, reduction(torch.amin)),
        "heaviside": Binary(torch.heaviside),
        "ldexp": lambda x, n: x * 2.0**n,
        "mod": torch.remainder,
        "around": lambda x, decimals: torch.round(x, decimals=decimals),
        "rint": torch.round,
        "radians": torch.deg2rad,
        "degrees": torch.rad2deg,
        "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    }
    products_of_arrays = {
        "dot": lambda x, y: (
            torch.tensordot(x, y, ([x.ndim - 1], [max(y.ndim - 2, 0)]))
            if isinstance(y, torch.Tensor)
            else x * y
        ),
        "outer": lambda x, y: torch.outer(x.reshape(-1), y.reshape(-1)),
        "vdot": lambda x, y: torch.sum(torch.conj(x) * y),
        "tensordot": lambda x, y, axes: torch.tensordot(x, y, axes),
        "einsum": einsum,
    }
    given = real | shapes | reductions | arithmetic | products_of_arrays
    return Names(torch, **given, fft=Names(torch.fft, **fourier), linalg=linalg)


def special_names() -> Names:
    """What stands for ``scipy.special``."""
    return Names(
        torch.special,
        gamma=lambda x: torch.exp(torch.special.gammaln(x)),
        loggamma=torch.special.gammaln,
        exprel=lambda x: torch.expm1(x) / x,
    )
