"""The primitives in `keras.ops`: every backend, no assumption about kernels."""

import math

import keras
from keras import ops

from keras_transformer.ops.precision import product_dtype

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


def dense(x, kernel, bias=None, activation: str = "linear"):
    """See `keras_transformer.ops._tensorflow.dense`."""
    x = ops.convert_to_tensor(x)
    y = _product(x, ops.cast(kernel, x.dtype))
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


def lookup(table, ids):
    """See `keras_transformer.ops._tensorflow.lookup`."""
    return ops.take(table, ids, axis=0)


def dropout(x, rate: float, seed):
    """See `keras_transformer.ops._tensorflow.dropout`."""
    return keras.random.dropout(x, rate, seed=seed)


def attention(q, k, v, bias=None, row_valid=None, dropout=None, return_weights: bool = False):
    """See `keras_transformer.ops._tensorflow.attention`."""
    scores = _product(q, ops.transpose(k, (0, 1, 3, 2)))
    scores = ops.cast(scores, "float32") * (1.0 / math.sqrt(q.shape[-1]))
    if bias is not None:
        scores = scores + ops.cast(bias, "float32")
    weights = ops.softmax(scores, axis=-1)
    if row_valid is not None:
        weights = weights * ops.cast(row_valid, "float32")
    kept = weights if dropout is None else dropout(weights)
    context = _product(ops.cast(kept, v.dtype), v)
    return (context, weights) if return_weights else context
