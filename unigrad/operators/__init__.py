"""From a function to its derivatives: one code path for every backend."""

from unigrad.operators.checkpoint import checkpoint
from unigrad.operators.control import custom_vjp, jit, stop_gradient
from unigrad.operators.explain import Route, explain
from unigrad.operators.first_order import grad, jacobian, jvp, linearize, value_and_grad, vjp
from unigrad.operators.second_order import hessian, hvp, value_grad_and_hvp

__all__ = [
    "Route",
    "checkpoint",
    "custom_vjp",
    "explain",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "linearize",
    "stop_gradient",
    "value_and_grad",
    "value_grad_and_hvp",
    "vjp",
]
