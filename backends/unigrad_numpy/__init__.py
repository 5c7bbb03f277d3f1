"""NumPy for unigrad: derivatives of plain NumPy code by unigrad's own engine."""

from unigrad.backend import BackendSpec, Capabilities

__all__ = ["spec"]

spec = BackendSpec(
    name="numpy",
    adapter="unigrad_numpy.adapter:NumpyBackend",
    modules=("numpy", "unigrad.engine", "dask.array"),
    framework="numpy",
    distribution="numpy",
    install="pip install numpy",
    capabilities=Capabilities(
        jit=True,
        custom_vjp=True,
        native=frozenset({"custom_vjp", "jit", "jvp", "linearize", "value_and_grad"}),
        hvp="forward_over_reverse",
    ),
)
