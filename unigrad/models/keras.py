"""Keras 3 models, on any of Keras' backends, as functions of their weights (S16).

The model is called inside ``keras.StatelessScope``, in which its variables stand for the values
that they are given and what it assigns is kept apart. Keras is never imported from here.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from unigrad.backend import Array, Backend, is_floating
from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.models.keras_layers import layers_of
from unigrad.stateless import ModelOptions, StatelessModel

__all__ = ["KerasModel", "backend_name", "is_layer"]

Variable: TypeAlias = Any


def is_layer(model: Any) -> bool:
    """Whether this is a Keras layer or model; Keras is never imported from here."""
    keras = sys.modules.get("keras")
    # Keras 2 has no such name, and its models are not those that are read here.
    return keras is not None and isinstance(model, getattr(keras, "Layer", ()))


def backend_name() -> str:
    """The unigrad backend of the arrays in which Keras works in this process."""
    name: str = sys.modules["keras"].config.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise UnsupportedError(
            f"Keras runs on its {name!r} backend, which has no derivatives; set the environment "
            f"variable KERAS_BACKEND to tensorflow, jax or torch before Keras is imported"
        )
    return name


class KerasModel(StatelessModel):
    """One Keras layer or model.

    Losses that the model adds by itself (regularizers, ``add_loss``) are no part of its output,
    and ``model.losses`` keeps those of the user's own last call.

    Raises:
        UnsupportedError: for a model without weights yet, or around weights of another kind.
    """

    def __init__(self, model: Any, options: ModelOptions, backend: Backend) -> None:
        self.name = f"the Keras model {model.name!r}"
        self._model = model
        self._mode = options.mode
        self._backend = backend
        self._scope = sys.modules["keras"].StatelessScope
        self._thread = sys.modules["keras.src.backend.common.global_state"]
        self._context = sys.modules["keras.src.layers.layer"].CallContext
        if options.example is not None and _unbuilt(model):
            given = options.example
            model(*given if isinstance(given, tuple) else (given,))
        _refuse(model)
        names = _names(model)
        chosen = model.trainable_variables if options.trainable_only else _weights(model)
        taken = {id(v) for v in chosen}
        self._params = {n: v for n, v in names.items() if id(v) in taken}
        self._state = {n: v for n, v in names.items() if id(v) not in taken}
        self._dtypes = {n: backend.dtype(x) for n, x in self.params().items()}
        self._known = {id(v): v for v in names.values()}
        weights = {id(v) for v in model.weights}
        self._seeds = [v for v in names.values() if id(v) not in weights]

    def params(self) -> dict[str, Array]:
        return self._read(self._params)

    def state(self) -> dict[str, Array]:
        return self._read(self._state)

    def call(
        self,
        params: Mapping[str, Array],
        state: Mapping[str, Array] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Array]]:
        if self._mode is not None:
            if "training" in options:
                raise ArgumentError(
                    f"apply of {self.name} was called with training={options['training']!r}, but "
                    f"mode={self._mode!r} is set in ug.functional(mode=); type mode=None there"
                )
            options = {**options, "training": self._mode == "train"}
        self._require_unchanged()
        values = {id(v): self._weight(n, params[n]) for n, v in self._params.items()}
        before = self.state() if state is None else self._arrays(state)
        values.update((id(v), before[n]) for n, v in self._state.items())
        draws = None if seed is None else _words(seed)
        if draws is not None:
            values.update((id(v), self._seeded(v, next(draws))) for v in self._seeds)
        strays: dict[int, Variable] = {}
        with self._stateless(values, strays, draws), self._apart(), self._stream(seed):
            output = self._model(*inputs, **options)
        self._settle(strays, values, seed)
        drawn = set() if seed is None else {id(v) for v in self._seeds}
        return output, {
            n: before[n] if id(v) in drawn else self._backend.stop_gradient(values[id(v)])
            for n, v in self._state.items()
        }

    def assign(self, values: Mapping[str, Array]) -> None:
        variables = self._params | self._state
        for name, x in values.items():
            variables[name].assign(x)

    def layers(self) -> list[Layer]:
        return layers_of(self._model, {id(v): n for n, v in (self._params | self._state).items()})

    def _require_unchanged(self) -> None:
        """Refuse a model whose layers were added, replaced or taken away since it was read."""
        present = {id(v): v for v in self._model.variables}
        if present.keys() != self._known.keys():
            paths = [
                v.path
                for key, v in (self._known | present).items()
                if (key in present) is not (key in self._known)
            ]
            raise StructureError(
                f"{self.name} has changed since ug.functional took it: {paths} came or went; "
                f"type: apply, params = ug.functional(model) again"
            )

    def _read(self, variables: Mapping[str, Variable]) -> dict[str, Array]:
        return {n: self._backend.stop_gradient(v.value) for n, v in variables.items()}

    def _arrays(self, given: Mapping[str, Array]) -> dict[str, Array]:
        return {n: self._array(x) for n, x in given.items()}

    def _array(self, x: Any) -> Array:
        b = self._backend
        return b.prepare(x) if isinstance(x, b.array_types) else b.asarray(x)

    def _weight(self, name: str, given: Any) -> Array:
        x = self._array(given)
        dtype, wanted = self._backend.dtype(x), self._dtypes[name]
        if dtype != wanted:
            raise ShapeError(
                f"params[{name!r}] must have dtype {wanted}, to which Keras would round it, got "
                f"{dtype}; type: keras.config.set_floatx({dtype!r}) before the model is made, or "
                f"give its layers dtype={dtype!r}"
            )
        return x

    # ---------------------------------------------------------------- around the call

    @contextlib.contextmanager
    def _stateless(
        self, values: dict[int, Array], strays: dict[int, Variable], draws: Iterator[int] | None
    ) -> Iterator[None]:
        """Variables stand for ``values``, which takes what the model assigns.

        Args:
            strays: is filled with the variables that are used without being the model's.
            draws: seeds for generators among them.
        """

        def current(variable: Variable) -> Array | None:
            found = values.get(id(variable))
            if found is None and id(variable) not in strays:
                strays[id(variable)] = variable
                if draws is not None and _is_seed(variable):
                    found = values[id(variable)] = self._seeded(variable, next(draws))
            return found

        scope = self._scope()
        with scope:
            if scope.original_scope is not None:  # an outer stateless call: its values hold here
                for key, value in scope.original_scope.state_mapping.items():
                    values.setdefault(key, value)
            scope.state_mapping = values
            scope.get_current_value = current
            yield

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """The model's call is no entry into Keras, which would forget the losses of the last one.

        Nor do the layers around it see the ``training`` that it sets.
        """
        thread = self._thread
        outer = thread.get_global_attribute("current_call_ctx")
        inner = self._context(entry_layer=None) if outer is None else copy.copy(outer)
        inner.entry_layer = None
        thread.set_global_attribute("current_call_ctx", inner)
        try:
            yield
        finally:
            thread.set_global_attribute("current_call_ctx", outer)

    @contextlib.contextmanager
    def _stream(self, seed: int | None) -> Iterator[None]:
        """Trap: on torch, a Dropout without a seed of its own draws from torch's global stream."""
        if seed is None or self._backend.name != "torch":
            yield
            return
        torch = sys.modules["torch"]
        if torch.compiler.is_compiling():
            raise UnsupportedError(
                f"{self.name}: seed= inside torch.compile (ug.jit) would be the compiler's own "
                f"random stream; pass what is drawn as an input, or call apply outside"
            )
        with _SEEDING, torch.random.fork_rng():
            torch.manual_seed(seed % 2**64)
            yield

    def _seeded(self, generator: Variable, word: int) -> Array:
        dtype = self._backend.dtype(generator.value)
        word = word - 2**32 if dtype == "int32" and word >= 2**31 else word
        return self._backend.asarray([word, 0], dtype=dtype, like=generator.value)

    def _settle(
        self, strays: Mapping[int, Variable], values: Mapping[int, Array], seed: int | None
    ) -> None:
        """Random streams outside of the model go on; layers that were built in the call do not."""
        if not strays:
            return
        own = {id(v) for v in self._model.variables}
        for key, variable in strays.items():
            if key in own:
                raise UnsupportedError(
                    f"{self.name} made the weight {variable.path!r} while it was called; type: "
                    f"model(x) once, with training=True for mode='train', then ug.functional(model)"
                )
            if seed is None and key in values and _is_seed(variable):
                if self._backend.name == "jax" and not self._backend.is_concrete(values[key]):
                    raise UnsupportedError(
                        f"{self.name} draws from the generator {variable.path!r} that it does not "
                        f"hold, which jax.jit cannot advance; let the layer keep it: "
                        f"self.seed_generator = keras.random.SeedGenerator()"
                    )
                variable.assign(values[key])


_SEEDING = threading.RLock()


def _is_seed(variable: Variable) -> bool:
    return bool(variable.name == "seed_generator_state")


def _words(seed: int) -> Iterator[int]:
    """32 random bits for each generator (splitmix64; plain integers, for torch.compile)."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield (z ^ (z >> 31)) >> 32


def _names(model: Any) -> dict[str, Variable]:
    """Variables by path without the model's own name; equal paths get a number."""
    found: dict[str, Variable] = {}
    for v in _unique(model.variables):
        path = v.path.removeprefix(f"{model.name}/")
        name, number = path, 1
        while name in found:
            name, number = f"{path}:{number}", number + 1
        found[name] = v
    return found


def _unique(variables: Sequence[Variable]) -> list[Variable]:
    return list({id(v): v for v in variables}.values())


def _weights(model: Any) -> list[Variable]:
    """The variables that are trained unless their layer is frozen: no running statistics."""
    return [
        v
        for layer in model._flatten_layers()
        for v in layer._trainable_variables
        if is_floating(str(v.dtype))
    ]


def _unbuilt(model: Any) -> list[str]:
    """Layers that a first call would make weights for.

    Trap: ``build(shape)`` of a subclass may mark the model alone as built. In a model that was
    called, layers that are not built are not used.
    """
    if model.built and model._called:
        return []
    return [layer.name for layer in model._flatten_layers() if not layer.built]


def _refuse(model: Any) -> None:
    """Refuse a model that has no weights yet, or weights that Keras does not stand between."""
    if unbuilt := _unbuilt(model):
        raise UnsupportedError(
            f"the weights of the Keras model {model.name!r} were asked for, but it has none yet "
            f"(not built: {', '.join(unbuilt)}); type: ug.functional(model, example=x), "
            f"or before it model.build(input_shape), or model(x) once"
        )
    foreign = ("TorchModuleWrapper", "TFSMLayer")
    for layer in model._flatten_layers():
        kinds = {base.__name__ for base in type(layer).__mro__}
        if kind := next((name for name in foreign if name in kinds), None):
            raise UnsupportedError(
                f"the layer {layer.name!r} of the Keras model {model.name!r} is a {kind}, around "
                f"weights that Keras cannot replace in a call; write it in Keras layers, or pass "
                f"a pair (apply, params) of your own"
            )
