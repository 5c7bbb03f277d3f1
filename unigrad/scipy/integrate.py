"""scipy.integrate, followed: sums of samples, and explicit solvers of initial value problems.

SciPy's solver chooses the steps, on plain values; the same steps are then taken once more on
traced ones. So the solution is SciPy's, and its derivative is exactly that of the computed
solution with the steps held fixed, to any order: as accurate as the solution, not more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate as si

from unigrad.engine.core import Box, primal
from unigrad.errors import TracingError, UnsupportedError
from unigrad.scipy.arrays import as_array, ratio

__all__ = ["cumulative_trapezoid", "odeint", "simpson", "solve_ivp", "trapezoid"]

# ------------------------------------------------------------------------- samples


def _last(y: Any, x: Any, dx: Any, axis: int) -> tuple[Any, Any]:
    """The samples with their axis last, and the distances between them, which broadcast."""
    y = np.moveaxis(as_array(y), axis, -1)
    if x is None:
        real = np.finfo(y.dtype).dtype if y.dtype.kind in "fc" else np.dtype(float)
        return y, dx + np.zeros(y.shape[-1] - 1, real)
    x = as_array(x)
    return y, np.diff(x if np.ndim(x) == 1 else np.moveaxis(x, axis, -1), axis=-1)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples by straight lines, as `scipy.integrate.trapezoid`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(trapezoid)(np.ones(3))
    array([0.5, 1. , 0.5])
    """
    y, h = _last(y, x, dx, axis)
    return np.sum(0.5 * h * (y[..., 1:] + y[..., :-1]), axis=-1)


def cumulative_trapezoid(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: float | None = None
) -> Any:
    """The integrals up to each sample, as `scipy.integrate.cumulative_trapezoid`.

    Args:
        initial: 0: a zero is put before them; ``None``: there is one less than samples.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda y: cumulative_trapezoid(y)[0])(np.ones(3))
    array([0.5, 0.5, 0. ])
    """
    if initial not in (None, 0):
        raise ValueError("initial is None or 0")
    y, h = _last(y, x, dx, axis)
    sums = np.cumsum(0.5 * h * (y[..., 1:] + y[..., :-1]), axis=-1)
    if initial is not None:
        sums = np.concatenate([np.zeros_like(sums[..., :1]), sums], axis=-1)
    return np.moveaxis(sums, -1, axis)


def simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples by parabolas, as `scipy.integrate.simpson`.

    An even number of samples gets the correction of Cartwright (2017) for its last interval.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(simpson)(np.ones(3)).round(4)
    array([0.3333, 1.3333, 0.3333])
    """
    y, h = _last(y, x, dx, axis)
    n = y.shape[-1]
    if n == 2:
        return (
            trapezoid(y, x, dx) if x is None else np.sum(0.5 * h * (y[..., 1:] + y[..., :-1]), -1)
        )
    odd = n if n % 2 else n - 1
    h0, h1 = h[..., 0 : odd - 1 : 2], h[..., 1 : odd - 1 : 2]
    left, middle, right = (y[..., i : odd - 2 + i : 2] for i in range(3))
    total = h0 + h1
    terms = left * (2 - ratio(h1, h0)) + right * (2 - ratio(h0, h1))
    terms = terms + middle * total * ratio(total, h0 * h1)
    out = np.sum(total / 6 * terms, axis=-1)
    if n % 2:
        return out
    h0, h1 = h[..., -2], h[..., -1]
    last = ratio(2 * h1**2 + 3 * h0 * h1, 6 * (h0 + h1)) * y[..., -1]
    last = last + ratio(h1**2 + 3 * h0 * h1, 6 * h0) * y[..., -2]
    return out + last - ratio(h1**3, 6 * h0 * (h0 + h1)) * y[..., -3]


# ------------------------------------------------------------------------- initial values

_METHODS = {"RK23": si.RK23, "RK45": si.RK45, "DOP853": si.DOP853}


def _plain(x: Any) -> Any:
    """The value that chooses the steps, under all derivatives."""
    value = primal(x)
    if isinstance(value, Box):
        raise TracingError(
            "solve_ivp and odeint are not recorded by ug.jit, because values choose their steps; "
            "call them outside of it, or write a loop of fixed steps"
        )
    return value


class _Seen:
    """A right-hand side on plain values, which remembers whether it gave traced ones."""

    def __init__(self, f: Callable[..., Any], state: Any) -> None:
        self.f = f
        self.traced = isinstance(state, Box)

    def __call__(self, t: Any, y: Any) -> Any:
        slope = as_array(self.f(t, y))
        self.traced = self.traced or isinstance(slope, Box)
        return _plain(slope)


def _combined(stages: Sequence[Any], weights: Any) -> Any:
    """``sum_i weights[i] stages[i]``, of the weights that are not 0."""
    terms = [float(w) * k for w, k in zip(weights, stages, strict=False) if w != 0]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class _Step:
    """One step of an explicit Runge-Kutta method from ``t`` to ``t + h``."""

    def __init__(self, solver: Any, f: Any, t: float, h: float, y: Any, slope: Any) -> None:
        self.solver, self.f, self.t, self.h, self.y = solver, f, t, h, y
        self.stages = [slope]
        for a, c in zip(solver.A[1:], solver.C[1:], strict=True):
            self._stage(a, c)
        self.end = y + h * _combined(self.stages, solver.B)
        self.slope = as_array(f(t + h, self.end))
        self.stages.append(self.slope)

    def _stage(self, a: Any, c: float) -> None:
        y = self.y + self.h * _combined(self.stages, a)
        self.stages.append(as_array(self.f(self.t + c * self.h, y)))

    def at(self, times: Any) -> list[Any]:
        """The interpolant that belongs to the method."""
        positions = [(float(s) - self.t) / self.h for s in times]
        if self.solver is not si.DOP853:
            powers = [p ** np.arange(1, self.solver.P.shape[1] + 1) for p in positions]
            weights = [self.solver.P @ power for power in powers]
            return [self.y + self.h * _combined(self.stages, w) for w in weights]
        if positions and len(self.stages) == self.solver.n_stages + 1:
            for a, c in zip(self.solver.A_EXTRA, self.solver.C_EXTRA, strict=True):
                self._stage(a, c)
        return [self._hairer(p) for p in positions]

    def _hairer(self, p: float) -> Any:
        """Hairer, Norsett, Wanner (1993), II.6: in turn times ``p`` and ``1 - p``, from inside."""
        rise = self.end - self.y
        start, end = self.h * self.stages[0], self.h * self.slope
        terms = [rise, start - rise, 2 * rise - end - start]
        terms += [self.h * _combined(self.stages, d) for d in self.solver.D]
        total = 0.0 * self.y
        for i, term in enumerate(reversed(terms)):
            total = (total + term) * (p if i % 2 == 0 else 1 - p)
        return self.y + total


def _replayed(solver: Any, f: Any, y: Any, ts: Any, wanted: Any | None) -> list[Any]:
    """The states at ``wanted`` times (``None``: at every step), by the steps ``ts``."""
    slope = as_array(f(ts[0], y))
    states = [y] if wanted is None or (len(wanted) and wanted[0] == ts[0]) else []
    done = len(states)
    for t, end in itertools.pairwise(ts):
        step = _Step(solver, f, t, end - t, y, slope)
        if wanted is None:
            states.append(step.end)
        else:
            inside = wanted[done:]
            inside = inside[inside <= end] if end > t else inside[inside >= end]
            states += step.at(inside)
            done = len(states)
        y, slope = step.end, step.slope
    return states


def _refuse_traced(what: str, values: Any) -> None:
    entries = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(v, Box) for v in entries):
        raise TracingError(
            f"the derivative with respect to {what} is not followed, because the steps are held "
            f"fixed; scale the time: with s = t / T, dy/ds = T f(T s, y), T may be traced"
        )


def solve_ivp(
    fun: Callable[..., Any],
    t_span: Any,
    y0: Any,
    method: str = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """The solution of ``dy/dt = fun(t, y, *args)``, as `scipy.integrate.solve_ivp`.

    Differentiable in ``y0``, ``args`` and whatever ``fun`` closes over: the derivative of the
    computed solution, the steps held fixed. Where nothing is traced, this is SciPy's function.

    Args:
        method: of traced values "RK23", "RK45", "DOP853", without ``dense_output`` and ``events``.
        options: SciPy's: ``rtol``, ``atol``, ``max_step``, ``first_step``.

    Returns:
        SciPy's result, of which ``y``, ``(n, times)``, is traced.

    Raises:
        TracingError: for traced times.
        UnsupportedError: for an implicit method, dense output, or events of traced values.

    >>> import numpy as np, unigrad as ug
    >>> decayed = lambda k: solve_ivp(lambda t, y: -k * y, (0, 1), [1.0], rtol=1e-9, atol=1e-9).y
    >>> print(ug.grad(lambda k: decayed(k)[0, -1])(1.0).round(7))  # -exp(-1)
    -0.3678794
    """
    _refuse_traced("t_span", t_span)
    _refuse_traced("t_eval", t_eval)
    y0 = as_array(y0)

    def f(t: Any, y: Any) -> Any:
        return fun(t, y, *(args or ()))

    seen = _Seen(f, y0)
    result = si.solve_ivp(
        seen, t_span, _plain(y0), method, t_eval, dense_output, events, vectorized, **options
    )
    if not seen.traced:
        return result
    if method not in _METHODS or dense_output or events is not None or vectorized:
        raise UnsupportedError(
            f"solve_ivp of traced values follows method='RK23', 'RK45' or 'DOP853', without "
            f"dense_output, events and vectorized, got method={method!r}; choose one of those"
        )
    steps = result.t
    if t_eval is not None:
        steps = si.solve_ivp(seen, t_span, _plain(y0), method, **options).t
    wanted = None if t_eval is None else np.asarray(result.t)
    states = _replayed(_METHODS[method], f, y0, [float(t) for t in steps], wanted)
    result.y = np.stack(states, axis=-1)
    return result


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    args: Sequence[Any] = (),
    rtol: float | None = None,
    atol: float | None = None,
    tfirst: bool = False,
) -> Any:
    """The solution of ``dy/dt = func(y, t, *args)`` at times ``t``, as `scipy.integrate.odeint`.

    Differentiable as `solve_ivp` is. SciPy solves by LSODA, which is not followed: where something
    is traced, the steps are those of DOP853, and agree to the tolerances; stiff problems are slow.

    Args:
        y0: ``(n,)`` or a number.
        t: ``(m,)``, increasing or decreasing.
        rtol: and ``atol``: 1.49e-8, as SciPy's.
        tfirst: ``func(t, y, *args)`` instead.

    Returns:
        ``(m, n)``.

    >>> import numpy as np, unigrad as ug
    >>> t = np.array([0.0, 1.0])
    >>> decayed = lambda k: odeint(lambda y, t: -k * y, [1.0], t)[-1, 0]
    >>> print(ug.grad(decayed)(1.0).round(7))  # -exp(-1)
    -0.3678794
    """
    _refuse_traced("t", t)
    y0, t = np.atleast_1d(as_array(y0)), np.asarray(t, dtype=float)

    def f(s: Any, y: Any) -> Any:
        return np.atleast_1d(as_array(func(s, y, *args) if tfirst else func(y, s, *args)))

    seen = _Seen(f, y0)
    seen(t[0], _plain(y0))
    if not seen.traced:
        return si.odeint(func, y0, t, tuple(args), rtol=rtol, atol=atol, tfirst=tfirst)
    tolerances = {
        "rtol": 1.49012e-8 if rtol is None else rtol,
        "atol": 1.49012e-8 if atol is None else atol,
    }
    y = y0 + np.zeros(y0.shape)
    states = [y]
    for start, end in itertools.pairwise(t):
        solved = si.solve_ivp(seen, (start, end), _plain(y), "DOP853", **tolerances)
        if not solved.success:
            raise RuntimeError(f"odeint stopped between t={start} and t={end}: {solved.message}")
        y = _replayed(si.DOP853, f, y, [float(s) for s in solved.t], None)[-1]
        states.append(y)
    return np.stack(states)
