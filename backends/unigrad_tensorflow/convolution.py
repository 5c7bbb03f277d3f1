"""Convolution in the layout that all backends share (NCHW, OIHW), on TensorFlow's NHWC kernels.

TensorFlow's CPU kernels know NHWC only. Padding is an op of its own, because the derivatives of
explicitly padded kernels are not offered everywhere.
"""

from __future__ import annotations

import tensorflow as tf

from unigrad.backend import Array
from unigrad_tensorflow.promotion import operands

__all__ = ["conv2d"]


def conv2d(
    x: Array,
    w: Array,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Array:
    """Cross-correlate ``x`` (N, C, H, W) with ``w`` (O, C, kH, kW)."""
    x, w = operands(x, w)
    ph, pw = padding
    image = tf.transpose(x, [0, 2, 3, 1])
    if ph or pw:
        image = tf.pad(image, [[0, 0], [ph, ph], [pw, pw], [0, 0]])
    kernel = tf.transpose(w, [2, 3, 1, 0])
    result = tf.nn.conv2d(image, kernel, strides=list(stride), padding="VALID")
    return tf.transpose(result, [0, 3, 1, 2])
