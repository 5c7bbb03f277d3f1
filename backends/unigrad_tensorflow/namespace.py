"""``xp`` over tensors: names and signatures of the array API standard, which TensorFlow lacks.

The functions live in `creation`, `elementwise`, `reductions`, `shaping` and `linalg`.
"""

from __future__ import annotations

import math

import tensorflow as tf

from unigrad_tensorflow import linalg as linalg
from unigrad_tensorflow.creation import *  # noqa: F403
from unigrad_tensorflow.elementwise import *  # noqa: F403
from unigrad_tensorflow.linalg import einsum as einsum
from unigrad_tensorflow.linalg import matmul as matmul
from unigrad_tensorflow.linalg import tensordot as tensordot
from unigrad_tensorflow.promotion import result_type as result_type
from unigrad_tensorflow.reductions import *  # noqa: F403
from unigrad_tensorflow.shaping import *  # noqa: F403

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
newaxis = None

bool = tf.bool
int32 = tf.int32
int64 = tf.int64
float32 = tf.float32
float64 = tf.float64
complex64 = tf.complex64
complex128 = tf.complex128
