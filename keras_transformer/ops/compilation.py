"""Whether the element-wise parts of layers are compiled: on in training steps, off in what is exported."""

import contextlib
import contextvars
from collections.abc import Iterator

_WANTED: contextvars.ContextVar[bool] = contextvars.ContextVar("compiled_elementwise", default=False)


@contextlib.contextmanager
def compiled_elementwise(wanted: bool = True) -> Iterator[None]:
    """Lets XLA compile what lies between the matrix products of the layers called, or traced, while the block runs.

    Norms, activations with their bias, the gradient of the softmax and dropout become one pass over memory each, with
    float32 inside; results agree with the plain operations but for rounding. A new shape is compiled anew:
    meant for training on batches of a handful of shapes. With the TensorFlow backend only; under JAX all of a step is
    compiled anyway.

    Args:
        wanted: False changes nothing. Default True.

    Yields:
        None.

    Example:
        ```python
        import numpy as np
        from keras_transformer import ops

        x = np.random.rand(4, 8).astype("float32")
        with ops.compiled_elementwise():
            y = np.array(ops.layer_norm(x, np.ones(8, "float32"), np.zeros(8, "float32"), 1e-6))
        assert abs(y.mean()) < 1e-5
        ```
    """
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def is_compiled_elementwise() -> bool:
    """Says whether the code runs inside `compiled_elementwise`."""
    return _WANTED.get()
