"""bfloat16 inside matrix products only, float32 around them: half the time where a processor is made for it."""

import contextlib
import contextvars
import functools
import pathlib
import time
from collections.abc import Iterator

import keras

_PRODUCT_DTYPE: contextvars.ContextVar[str | None] = contextvars.ContextVar("product_dtype", default=None)
_PRODUCT_SHAPE, _PRODUCTS = (768, 768), 6  # of the measurement; large enough for all threads


@contextlib.contextmanager
def products_in(dtype: str) -> Iterator[None]:
    """Multiplies float32 matrices in another dtype while the block runs, or while a function is traced in it.

    The factors are rounded; the kernels add up in float32. Weights, norms, softmax, losses and every other value stay
    float32.

    Args:
        dtype: "bfloat16", or "float32" for no change.

    Yields:
        None.

    Raises:
        ValueError: For another dtype.

    Example:
        ```python
        import numpy as np
        from keras_transformer import ops

        x = np.full((1, 2), 1.001, "float32")
        with ops.products_in("bfloat16"):
            assert float(ops.dense(x, np.eye(2, dtype="float32"))[0, 0]) == 1.0
        ```
    """
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"Products can be in float32 or bfloat16. Received: {dtype!r}")
    token = _PRODUCT_DTYPE.set(None if dtype == "float32" else dtype)
    try:
        yield
    finally:
        _PRODUCT_DTYPE.reset(token)


def product_dtype() -> str | None:
    """Returns the dtype set by `products_in`, or None."""
    return _PRODUCT_DTYPE.get()


@functools.cache
def has_fast_bfloat16() -> bool:
    """Says whether this processor multiplies bfloat16 matrices in less time than float32 ones.

    It must have the instructions (AVX512_BF16 or AMX, from the kernel), and a product must show it: a processor whose
    AMX is hidden by its virtual machine has AVX512_BF16 and takes twice the time of float32. Measured once, in about
    50 milliseconds.
    """
    path = pathlib.Path("/proc/cpuinfo")
    if not path.is_file():
        return False
    flags = next((line for line in path.read_text().splitlines() if line.startswith("flags")), "").split()
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        return False
    float32, bfloat16 = _product_seconds("float32", "bfloat16")
    return bfloat16 < 0.8 * float32  # the casts around a product take time, too


def _product_seconds(*dtypes: str) -> list[float]:
    """Returns the seconds of a product of two matrices in each dtype: the least of several, taken in turn."""
    matrices = {dtype: keras.ops.ones(_PRODUCT_SHAPE, dtype) for dtype in dtypes}
    taken = {dtype: [] for dtype in dtypes}
    for _ in range(_PRODUCTS):
        for dtype, matrix in matrices.items():
            started = time.perf_counter()
            # Read back, so that a backend that computes later has done so.
            keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.matmul(matrix, matrix)[0, 0], "float32"))
            taken[dtype].append(time.perf_counter() - started)
    return [min(taken[dtype]) for dtype in dtypes]


def choose_product_dtype(wanted: str) -> str:
    """Resolves "auto" to "bfloat16" where its products are faster, else "float32"; other names are checked.

    Args:
        wanted: "auto", "float32" or "bfloat16".

    Returns:
        "float32" or "bfloat16".

    Raises:
        ValueError: For another name.
    """
    if wanted == "auto":
        return "bfloat16" if has_fast_bfloat16() else "float32"
    if wanted not in ("float32", "bfloat16"):
        raise ValueError(f"product_dtype must be auto, float32 or bfloat16. Received: {wanted!r}")
    return wanted
