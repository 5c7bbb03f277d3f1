"""unigrad: the same derivatives, exactly, on NumPy, PyTorch, TensorFlow/Keras, JAX and MXNet.

Write a function on plain arrays of any of them, and ask for its derivatives:

>>> import numpy as np, unigrad as ug
>>> print(ug.grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0])))
[2. 4.]
"""

from unigrad import errors, ops
from unigrad.arrays import array_namespace, asarray, to_numpy
from unigrad.backend import Backend, BackendSpec, Capabilities
from unigrad.models import assign, functional
from unigrad.operators import (
    Route,
    checkpoint,
    custom_vjp,
    explain,
    grad,
    hessian,
    hvp,
    jacobian,
    jit,
    jvp,
    linearize,
    stop_gradient,
    value_and_grad,
    value_grad_and_hvp,
    vjp,
)
from unigrad.registry import (
    BackendInfo,
    backends,
    get_backend,
    register_backend,
    set_default_backend,
    use,
)

__version__ = "0.1.0"

__all__ = [
    # derivatives
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "value_and_grad",
    "value_grad_and_hvp",
    "vjp",
    # control
    "checkpoint",
    "custom_vjp",
    "explain",
    "jit",
    "stop_gradient",
    # arrays and models
    "array_namespace",
    "asarray",
    "assign",
    "functional",
    "to_numpy",
    # backends
    "Backend",
    "BackendInfo",
    "BackendSpec",
    "Capabilities",
    "Route",
    "backends",
    "get_backend",
    "register_backend",
    "set_default_backend",
    "use",
    # modules
    "errors",
    "ops",
]
