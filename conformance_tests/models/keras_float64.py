"""Keras in float64 on JAX and torch, where most of its operations round to float32 by themselves.

That is Keras' own choice and an open issue of its (github.com/keras-team/keras/issues/23704).
What is to agree to 1e-10 is measured with its table of types changed, in a process of its own.
"""

from __future__ import annotations

__all__ = ["compute_in_float64"]


def compute_in_float64() -> None:
    """To be called before Keras has computed anything, as it remembers what it looked up."""
    import keras
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    if keras.config.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
