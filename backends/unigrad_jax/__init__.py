"""JAX for unigrad."""

from unigrad.backend import BackendSpec, Capabilities

__all__ = ["spec"]

spec = BackendSpec(
    name="jax",
    adapter="unigrad_jax.adapter:JaxBackend",
    modules=("jax", "jaxlib"),
    framework="jax",
    distribution="jax",
    install="pip install 'unigrad[jax]'",
    capabilities=Capabilities(
        jit=True,
        custom_vjp=True,
        models=True,
        native=frozenset(
            {"jvp", "batched_pullback", "connected", "custom_vjp", "jit", "functional"}
        ),
        hvp="forward_over_reverse",
    ),
)
