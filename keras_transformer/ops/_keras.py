"""The primitives in `keras.ops`: every backend, no assumption about kernels."""

import math
from collections.abc import Callable

import keras
from keras import ops

from keras_transformer.ops.precision import product_dtype
from keras_transformer.ops.recomputation import draw

_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "silu": ops.silu,
    "tanh": ops.tanh,
}


def _product(a, b):
    low = product_dtype()
    if low is None or keras.backend.standardize_dtype(a.dtype) != "float32":
        return ops.matmul(a, b)
    return ops.cast(ops.matmul(ops.cast(a, low), ops.cast(b, low)), "float32")


def dense(x, kernel, bias=None, activation: str = "linear", transpose_kernel: bool = False):
    """See `keras_transformer.ops._tensorflow.dense`."""
    x = ops.convert_to_tensor(x)
    kernel = ops.cast(kernel, x.dtype)
    y = _product(x, ops.transpose(kernel) if transpose_kernel else kernel)
    if bias is not None:
        y = y + ops.cast(bias, y.dtype)
    return _ACTIVATIONS[activation](y)


def layer_norm(x, gamma, beta, epsilon: float):
    """See `keras_transformer.ops._tensorflow.layer_norm`."""
    dtype = x.dtype
    x = ops.cast(x, "float32")
    mean = ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=-1, keepdims=True)
    scale = ops.rsqrt(variance + epsilon) * ops.cast(gamma, "float32")
    return ops.cast(x * scale + (ops.cast(beta, "float32") - mean * scale), dtype)


def rms_norm(x, gamma, epsilon: float):
    """See `keras_transformer.ops._tensorflow.rms_norm`."""
    wide = ops.cast(x, "float32")
    square = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * (ops.rsqrt(square + epsilon) * ops.cast(gamma, "float32")), x.dtype)


def lookup(table, ids):
    """See `keras_transformer.ops._tensorflow.lookup`."""
    return ops.take(table, ids, axis=0)


def dropout(x, rate: float, seed):
    """See `keras_transformer.ops._tensorflow.dropout`."""
    return keras.random.dropout(x, rate, seed=seed if isinstance(seed, int) else _Drawn(draw(seed)))


class _Drawn(keras.random.SeedGenerator):
    """Hands a state that was drawn already to Keras, which takes generators and numbers only."""

    def __init__(self, state):
        self._drawn = state

    def next(self, ordered: bool = True):
        return self._drawn


def attention(q, k, v, bias=None, row_valid=None, dropout=None, scale=None, return_weights: bool = False):
    """See `keras_transformer.ops._tensorflow.attention`."""
    scores = _grouped_product(q, ops.swapaxes(k, -1, -2))
    scores = ops.cast(scores, "float32") * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if bias is not None:
        scores = scores + ops.cast(bias, "float32")
    weights = _softmax(scores)
    if row_valid is not None:
        weights = weights * ops.cast(row_valid, "float32")
    kept = weights if dropout is None else _dropout(weights, *dropout)
    context = _grouped_product(ops.cast(kept, v.dtype), v)
    return (context, weights) if return_weights else context


_dropout = dropout  # in `attention` the name is that of an argument


def _softmax(x):
    """`keras.ops.softmax` warns of an axis of size 1, which the first step of every generation has."""
    x = ops.exp(x - ops.stop_gradient(ops.max(x, axis=-1, keepdims=True)))
    return x / ops.sum(x, axis=-1, keepdims=True)


def _grouped_product(a, b):
    heads, key_heads = a.shape[1], b.shape[1]
    if heads == key_heads:
        return _product(a, b)
    shape = ops.shape(a)
    y = _product(ops.reshape(a, (shape[0], key_heads, heads // key_heads * shape[2], shape[3])), b)
    return ops.reshape(y, (shape[0], heads, shape[2], ops.shape(y)[3]))


def sum_of_squares(x):
    """See `keras_transformer.ops._tensorflow.sum_of_squares`."""
    return ops.sum(ops.square(ops.cast(x, "float32")))


def adamw_update(gradient, mean, square, value, rate, epsilon, decay, scale, betas: tuple[float, float]) -> tuple:
    """See `keras_transformer.ops._tensorflow.adamw_update`."""
    gradient = gradient * scale
    mean = mean + (gradient - mean) * (1 - betas[0])
    square = square + (ops.square(gradient) - square) * (1 - betas[1])
    return mean, square, value - (mean * rate / (ops.sqrt(square) + epsilon) + value * decay)


def compiled(function: Callable, variables: list, signature: dict | None = None, jit_compile: bool = False) -> Callable:
    """See `keras_transformer.ops._tensorflow.compiled`; compiles under JAX, elsewhere the function runs as it is."""
    if signature is not None:
        raise ValueError(f"Only TensorFlow saves functions. Received: backend={keras.backend.backend()!r}")
    if keras.backend.backend() != "jax":
        return function
    import jax

    @jax.jit
    def stateless(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    return lambda *arguments: stateless([variable.value for variable in variables], *arguments)
