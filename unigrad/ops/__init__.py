"""Functions with one value and one first and second derivative on every backend, kinks included.

Each is composed of calls of the array's own namespace, and works wherever its arrays do: inside
``ug.grad``, ``jax.jit``, ``tf.function``, or on its own.
"""

from unigrad.ops.activations import gelu, leaky_relu, maxout, relu, sigmoid, silu, softplus
from unigrad.ops.convolution import avg_pool2d, conv2d, max_pool2d
from unigrad.ops.elementwise import abs, atan2, power, sqrt
from unigrad.ops.extrema import clip, max, maximum, min, minimum
from unigrad.ops.losses import binary_cross_entropy, cross_entropy
from unigrad.ops.reductions import log_softmax, logsumexp, norm, prod, softmax, std, var
from unigrad.ops.selection import one_hot, take_along_axis, where

__all__ = [
    # elementwise
    "abs",
    "sqrt",
    "power",
    "atan2",
    # extrema
    "maximum",
    "minimum",
    "max",
    "min",
    "clip",
    # activations
    "relu",
    "leaky_relu",
    "sigmoid",
    "softplus",
    "silu",
    "gelu",
    "maxout",
    # reductions
    "norm",
    "var",
    "std",
    "prod",
    "logsumexp",
    "softmax",
    "log_softmax",
    # selection
    "where",
    "one_hot",
    "take_along_axis",
    # losses
    "cross_entropy",
    "binary_cross_entropy",
    # images
    "conv2d",
    "max_pool2d",
    "avg_pool2d",
]
