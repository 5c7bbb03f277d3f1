"""scipy.stats, followed: densities and distribution functions of the common distributions.

Same names and parameters (``loc``, ``scale``, shapes) as SciPy's, differentiable in the argument
and in all of them, but for the shapes of incomplete gamma and beta functions, which are refused.
Outside the support a density is constant, and so is its derivative: 0.
"""

from unigrad.scipy.stats.continuous import (
    beta,
    cauchy,
    chi2,
    expon,
    gamma,
    laplace,
    lognorm,
    norm,
    t,
    uniform,
)
from unigrad.scipy.stats.discrete import bernoulli, binom, poisson
from unigrad.scipy.stats.multivariate import dirichlet, multivariate_normal

__all__ = [
    "bernoulli",
    "beta",
    "binom",
    "cauchy",
    "chi2",
    "dirichlet",
    "expon",
    "gamma",
    "laplace",
    "lognorm",
    "multivariate_normal",
    "norm",
    "poisson",
    "t",
    "uniform",
]
