"""TensorFlow and Keras for unigrad."""

from unigrad.backend import BackendSpec, Capabilities

__all__ = ["spec"]

spec = BackendSpec(
    name="tensorflow",
    adapter="unigrad_tensorflow.adapter:TensorflowBackend",
    modules=("tensorflow", "keras.src.backend.tensorflow"),
    framework="tensorflow",
    distribution="tensorflow-cpu",
    install="pip install 'unigrad[tensorflow]'",
    capabilities=Capabilities(
        jit=True,
        custom_vjp=True,
        models=True,
        native=frozenset({"value_and_grad", "custom_vjp", "jit"}),
        hvp="reverse_over_reverse",
    ),
)
