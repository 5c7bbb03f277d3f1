"""PyTorch for unigrad."""

from unigrad.backend import BackendSpec, Capabilities

__all__ = ["spec"]

spec = BackendSpec(
    name="torch",
    adapter="unigrad_torch.adapter:TorchBackend",
    modules=("torch",),
    framework="torch",
    distribution="torch",
    install="pip install 'unigrad[torch]'",
    capabilities=Capabilities(
        jit=True,
        custom_vjp=True,
        models=True,
        native=frozenset({"value_and_grad", "hvp", "custom_vjp", "jit", "functional"}),
        hvp="reverse_over_reverse",
    ),
)
