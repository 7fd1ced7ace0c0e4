"""The primitives in TensorFlow, written in the forms that its CPU kernels fuse.

A product of two dimensions followed by `nn.bias_add` and an activation becomes one oneDNN kernel; the same product in
three dimensions, or with `+ bias`, does not. `benchmarks/` measures what each form is worth.
"""

import inspect
import math
from collections.abc import Callable

import tensorflow as tf

from keras_transformer.ops import _keras
from keras_transformer.ops import _tensorflow_compiled as _compiled
from keras_transformer.ops.compilation import is_compiled_elementwise
from keras_transformer.ops.precision import product_dtype, products_in
from keras_transformer.ops.recomputation import draw

_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": tf.nn.relu,
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "silu": tf.nn.silu,
    "tanh": tf.nn.tanh,
}


def _leading_shape(x: tf.Tensor) -> list:
    """Returns all dimensions but the last, static where known; a single unknown one is -1: no operator reads it."""
    static = x.shape.as_list()[:-1]
    if static.count(None) == 1:
        return [-1 if size is None else size for size in static]
    if all(size is not None for size in static):
        return static
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(static)]


def _product(a: tf.Tensor, b: tf.Tensor, **transposed: bool) -> tf.Tensor:
    """Multiplies matrices, in the dtype that `ops.products_in` asks for, and returns that dtype."""
    low = product_dtype()
    if low is None or b.dtype != tf.float32:
        return tf.matmul(tf.cast(a, b.dtype), b, **transposed)
    return tf.matmul(tf.cast(a, low), tf.cast(b, low), **transposed)


def dense(x, kernel, bias=None, activation: str = "linear", transpose_kernel: bool = False):
    """Multiplies the last axis by a matrix, adds a bias and applies an activation.

    Args:
        x: Float tensor of shape (..., input_dim).
        kernel: Float tensor of shape (input_dim, output_dim); cast to the dtype of `x`.
        bias: Float tensor of shape (output_dim,), or None.
        activation: One of `ops.ACTIVATIONS`.
        transpose_kernel: Whether the kernel has the shape (output_dim, input_dim), as a table of embeddings.

    Returns:
        Tensor of shape (..., output_dim) with the dtype of `x`.
    """
    x = tf.convert_to_tensor(x)
    kernel = tf.cast(tf.convert_to_tensor(kernel), x.dtype)
    input_dim, output_dim = reversed(kernel.shape) if transpose_kernel else kernel.shape
    flat = x if x.shape.rank == 2 else tf.reshape(x, (-1, input_dim))
    y = _product(flat, kernel, transpose_b=transpose_kernel)
    if bias is not None and is_compiled_elementwise():
        y = _compiled.bias_activation(y, tf.convert_to_tensor(bias), activation, x.dtype)
    else:
        y = tf.cast(y, x.dtype)
        if bias is not None:
            y = tf.nn.bias_add(y, tf.cast(tf.convert_to_tensor(bias), x.dtype))
        y = _ACTIVATIONS[activation](y)
    return y if x.shape.rank == 2 else tf.reshape(y, [*_leading_shape(x), output_dim])


def layer_norm(x, gamma, beta, epsilon: float):
    """Normalises the last axis to mean 0 and variance 1, then scales and shifts (Ba et al., arXiv 1607.06450).

    Args:
        x: Float tensor of shape (..., dim). Statistics are float32 whatever its dtype.
        gamma: Scale, shape (dim,).
        beta: Shift, shape (dim,).
        epsilon: Added to the variance.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    x = tf.convert_to_tensor(x)
    gamma, beta = (tf.cast(tf.convert_to_tensor(p), tf.float32) for p in (gamma, beta))
    if is_compiled_elementwise():
        rows = tf.reshape(x, (-1, gamma.shape[0]))
        return tf.reshape(_compiled.layer_norm(rows, gamma, beta, epsilon), [*_leading_shape(x), gamma.shape[0]])
    dtype = x.dtype
    x = tf.cast(x, tf.float32)
    axis = [x.shape.rank - 1]
    # Five operators write a full tensor here; with scale and shift worked out first there are six, and half more time.
    centred = x - tf.reduce_mean(x, axis, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis, keepdims=True)
    return tf.cast(centred * tf.math.rsqrt(variance + epsilon) * gamma + beta, dtype)


def rms_norm(x, gamma, epsilon: float):
    """Divides the last axis by its root mean square, then scales (Zhang and Sennrich, arXiv 1910.07467).

    Args:
        x: Float tensor of shape (..., dim). Statistics are float32 whatever its dtype.
        gamma: Scale, shape (dim,).
        epsilon: Added to the mean square.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    x = tf.convert_to_tensor(x)
    gamma = tf.cast(tf.convert_to_tensor(gamma), tf.float32)
    if is_compiled_elementwise():
        rows = tf.reshape(x, (-1, gamma.shape[0]))
        return tf.reshape(_compiled.rms_norm(rows, gamma, epsilon), [*_leading_shape(x), gamma.shape[0]])
    wide = tf.cast(x, tf.float32)
    square = tf.reduce_mean(tf.square(wide), [wide.shape.rank - 1], keepdims=True)
    return tf.cast(wide * (tf.math.rsqrt(square + epsilon) * gamma), x.dtype)


def lookup(table, ids):
    """Reads rows of a table; ids outside it fail on the CPU rather than wrap around.

    Args:
        table: Float tensor of shape (rows, dim).
        ids: Integer tensor of any shape.

    Returns:
        Tensor of shape (*ids.shape, dim).
    """
    return tf.gather(tf.convert_to_tensor(table), tf.convert_to_tensor(ids))


def dropout(x, rate: float, seed):
    """Sets a share `rate` of the values to 0 and divides the others by 1 - `rate` (rounded to 1/65536).

    Two decisions are drawn from each 32 random bits: half the cost of drawing a float per value. The replicas of a
    `tf.distribute` strategy draw different numbers, though their generators start alike.

    Args:
        x: Float tensor.
        rate: Share in [0, 1).
        seed: Integer, or a `keras.random.SeedGenerator`, which gives fresh numbers at every call.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    x, state = tf.convert_to_tensor(x), _drawn(seed)
    if is_compiled_elementwise():
        return _compiled.dropout(x, rate, state)
    threshold = round(rate * 65536)
    size = tf.size(x)
    words = tf.random.stateless_uniform([(size + 1) // 2], state, None, None, tf.int32)
    bits = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size]
    keep = tf.reshape(tf.cast(bits, tf.int32) >= threshold, tf.shape(x))
    return tf.where(keep, x * tf.cast(65536 / (65536 - threshold), x.dtype), tf.zeros([], x.dtype))


def _drawn(seed) -> tf.Tensor:
    """Returns the state that a dropout draws from, int32 of shape (2,)."""
    return _of_replica(tf.constant([seed, 0]) if isinstance(seed, int) else tf.cast(draw(seed), tf.int32))


def _of_replica(state: tf.Tensor) -> tf.Tensor:
    """Returns the state of a generator for this replica: as it is for the first one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return state
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    # The odd number nearest to 2 ** 32 divided by the golden ratio, as a signed one: it spreads small numbers.
    return tf.bitwise.bitwise_xor(state, tf.stack([replica * -1640531527, 0]))


def attention(q, k, v, bias=None, row_valid=None, dropout=None, scale=None, return_weights: bool = False):
    """Scaled dot-product attention (Vaswani et al., arXiv 1706.03762); the softmax adds up in float32.

    Args:
        q: Float tensor of shape (batch, heads, query_length, head_dim).
        k: Float tensor of shape (batch, key_heads, key_length, head_dim). Where `key_heads` is less than `heads`, as
            many neighbouring heads of the queries share one (grouped queries, Ainslie et al., arXiv 2305.13245).
        v: Float tensor of shape (batch, key_heads, key_length, head_dim).
        bias: Float tensor added to the scaled scores, broadcast to (batch, heads, query_length, key_length), or None.
        row_valid: Float tensor broadcast to (batch, heads, query_length, 1): 0 for rows that may attend to nothing,
            whose result is then 0; or None where no row can be empty.
        dropout: Pair of a rate in (0, 1) and a seed, as `dropout` takes them, for the weights; or None.
        scale: What the scores are multiplied by; None means 1 / sqrt(head_dim).
        return_weights: Also return the weights, before dropout, float32.

    Returns:
        Context of shape (batch, heads, query_length, head_dim); with `return_weights` the pair (context, weights).
    """
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    weights = None
    if is_compiled_elementwise():
        # bfloat16 scores stay bfloat16: the softmax adds up in float32 either way.
        scores = _grouped_product(q if scale == 1 else q * scale, k, transpose_b=True)
        scores = scores if bias is None else scores + tf.cast(bias, scores.dtype)
        context = _attend(scores, v, dropout)
        if return_weights:
            weights = tf.nn.softmax(tf.cast(scores, tf.float32))
    else:
        scores = tf.cast(_grouped_product(q, k, transpose_b=True), tf.float32)
        scores = scores if scale == 1 else scores * scale
        weights = tf.nn.softmax(scores if bias is None else scores + tf.cast(bias, tf.float32))
        kept = weights if dropout is None else _dropout(weights, *dropout)
        context = tf.cast(_grouped_product(kept, v), v.dtype)
    if row_valid is not None:
        context = context * tf.cast(row_valid, v.dtype)
    if not return_weights:
        return context
    return context, weights if row_valid is None else weights * tf.cast(row_valid, tf.float32)


_dropout = dropout  # in `attention` the name is that of an argument


def _attend(scores: tf.Tensor, v: tf.Tensor, dropout: tuple | None) -> tf.Tensor:
    """Softmax, dropout and the product with the values, whose gradient passes over the weights once."""
    rate, seed = dropout or (0.0, 0)
    state = _drawn(seed)
    dtype = product_dtype() or "float32"  # the gradient is made when the block that asked for it has ended

    @tf.custom_gradient
    def attend(scores, v):
        weights = tf.nn.softmax(scores)
        kept = _compiled.dropout(weights, rate, state) if rate else weights
        context = tf.cast(_grouped_product(kept, v), v.dtype)

        def gradient(dcontext):
            along = tf.reduce_sum(tf.cast(dcontext, tf.float32) * tf.cast(context, tf.float32), -1, keepdims=True)
            with products_in(dtype):
                dkept = _grouped_product(dcontext, v, transpose_b=True)
                # The heads that share values stand below each other, so that the product sums over them.
                dv = _product(_by_group(kept, v.shape[1]), _by_group(dcontext, v.shape[1]), transpose_a=True)
            dscores = _compiled.scores_gradient(weights, dkept, along, rate, state)
            return dscores, tf.cast(dv, v.dtype)

        return context, gradient

    return attend(scores, v)


def _by_group(x: tf.Tensor, key_heads: int) -> tf.Tensor:
    """(batch, heads, rows, dim) -> (batch, key_heads, rows of all heads of a group, dim)."""
    heads = x.shape[1]
    if heads == key_heads:
        return x
    shape = tf.shape(x)
    return tf.reshape(x, [shape[0], key_heads, heads // key_heads * shape[2], shape[3]])


def _grouped_product(a: tf.Tensor, b: tf.Tensor, transpose_b: bool = False) -> tf.Tensor:
    """Multiplies (batch, heads, rows, .) by (batch, key_heads, .., ..): heads of a group as rows of one product."""
    heads, key_heads = a.shape[1], b.shape[1]
    y = _product(_by_group(a, key_heads), b, transpose_b=transpose_b)
    if heads == key_heads:
        return y
    shape = tf.shape(a)
    return tf.reshape(y, [shape[0], heads, shape[2], tf.shape(y)[3]])


def sum_of_squares(x) -> tf.Tensor:
    """Returns the sum of the squares of all values, float32.

    Args:
        x: Float tensor.
    """
    return 2 * tf.nn.l2_loss(tf.cast(x, tf.float32))


def adamw_update(gradient, mean, square, value, rate, epsilon, decay, scale, betas: tuple[float, float]) -> tuple:
    """Returns both moments and the value of a variable after an update of AdamW (arXiv 1711.05101).

    Args:
        gradient: Float tensor.
        mean: Mean of the gradients so far.
        square: Mean of their squares.
        value: The variable.
        rate: Scalar, learning rate times the correction of both means.
        epsilon: Scalar, added to the root.
        decay: Scalar, share of the value that is taken off; 0 for none.
        scale: Scalar that the gradient is multiplied by.
        betas: Decay of the two means.

    Returns:
        Tuple of the new mean, square and value.
    """
    arguments = (gradient, *(tf.convert_to_tensor(x) for x in (mean, square, value)), rate, epsilon, decay, scale)
    if is_compiled_elementwise():
        return _compiled.adamw_update(*arguments, betas)
    return _keras.adamw_update(*arguments, betas)


def compiled(function: Callable, variables: list, signature: dict | None = None, jit_compile: bool = False) -> Callable:
    """Compiles a function of tensors; it is traced once for each combination of shapes and dtypes.

    Args:
        function: Takes one nested structure of tensors and returns another.
        variables: Keras variables that it reads; their values at the time of a call count.
        signature: Shape and dtype of each argument by name, for a function that takes them as arguments, hands them on
            as a dict, and can be saved; TensorFlow only.
        jit_compile: Whether XLA compiles it, if it has no signature; under JAX it always does. Default False.

    Returns:
        The compiled function.
    """
    if signature is None:
        return tf.function(function, autograph=False, jit_compile=jit_compile)

    def with_arguments(*values):
        return function(dict(zip(signature, values, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    with_arguments.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in signature])
    specs = [tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in signature.items()]
    return tf.function(with_arguments, input_signature=specs, autograph=False)
