"""Activations that are computed again for the gradient instead of being kept (Chen et al., arXiv 1604.06174)."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

_STATES: contextvars.ContextVar[dict | None] = contextvars.ContextVar("dropout_states", default=None)


def recompute(function: Callable, tensors: Any, generators: Sequence[keras.random.SeedGenerator] = ()) -> Any:
    """Calls a function whose inner results are not kept for the gradient but computed a second time.

    Both times dropout makes the same decisions, and `products_in` and `compiled_elementwise` hold as at the call.

    Args:
        function: Takes `tensors` and returns a tensor.
        tensors: Nested structure of float tensors; the gradient reaches them and the variables that are read.
        generators: The seed generators of all dropout inside; each is used once.

    Returns:
        What the function returns.
    """
    flat = keras.tree.flatten(tensors)
    # Drawn outside: a generator must not advance again when the function runs again.
    states = {id(generator): generator.next() for generator in generators}
    context = contextvars.copy_context()

    def run(*flat):
        with _fixed(states):
            return function(keras.tree.pack_sequence_as(tensors, flat))

    return keras.remat(lambda *flat: context.run(run, *flat))(*flat)


def draw(seed: keras.random.SeedGenerator) -> Any:
    """Returns the next state of a generator, integers of shape (2,); inside `recompute` the one drawn for it."""
    states = _STATES.get()
    return seed.next() if states is None or id(seed) not in states else states[id(seed)]


@contextlib.contextmanager
def _fixed(states: dict) -> Iterator[None]:
    token = _STATES.set(states)
    try:
        yield
    finally:
        _STATES.reset(token)
