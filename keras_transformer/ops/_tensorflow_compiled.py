"""The element-wise work of a training step, each part compiled by XLA into one pass over memory, with its own gradient.

On the CPU, XLA multiplies matrices slower than oneDNN but does a chain of element-wise operations at the price of one:
the products stay where they are, what lies between them is compiled. Statistics and sums are float32. A part is
compiled once for each shape, so batches should have a handful of them.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

_compile = functools.partial(tf.function, jit_compile=True, autograph=False)


def _gelu(u: tf.Tensor) -> tf.Tensor:
    return 0.5 * u * tf.math.erfc(u * -math.sqrt(0.5))


def _gelu_slope(u: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.math.erfc(u * -math.sqrt(0.5)) + u * tf.exp(-0.5 * u * u) * math.sqrt(0.5 / math.pi)


def _gelu_tanh_inner(u: tf.Tensor) -> tf.Tensor:
    return tf.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u * u * u))


def _gelu_tanh_slope(u: tf.Tensor) -> tf.Tensor:
    t = _gelu_tanh_inner(u)
    return 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * u * u)


def _silu_slope(u: tf.Tensor) -> tf.Tensor:
    s = tf.sigmoid(u)
    return s * (1 + u * (1 - s))


# Each activation and its derivative, of float32 values.
_ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "linear": (lambda u: u, tf.ones_like),
    "relu": (tf.nn.relu, lambda u: tf.cast(u > 0, u.dtype)),
    "gelu": (_gelu, _gelu_slope),
    "gelu_tanh": (lambda u: 0.5 * u * (1 + _gelu_tanh_inner(u)), _gelu_tanh_slope),
    "silu": (lambda u: u * tf.sigmoid(u), _silu_slope),
    "tanh": (tf.tanh, lambda u: 1 - tf.tanh(u) ** 2),
}


@functools.cache
def _bias_activation(name: str, dtype: tf.DType) -> Callable:
    value, slope = _ACTIVATIONS[name]

    @_compile
    def forward(x, bias):
        return tf.cast(value(tf.cast(x, tf.float32) + tf.cast(bias, tf.float32)), dtype)

    @_compile
    def backward(x, bias, dy):
        dx = tf.cast(dy, tf.float32) * slope(tf.cast(x, tf.float32) + tf.cast(bias, tf.float32))
        return tf.cast(dx, x.dtype), tf.cast(tf.reduce_sum(dx, 0), bias.dtype)

    @tf.custom_gradient
    def apply(x, bias):
        return forward(x, bias), lambda dy: backward(x, bias, dy)

    return apply


def bias_activation(x: tf.Tensor, bias: tf.Tensor, activation: str, dtype: tf.DType) -> tf.Tensor:
    """Adds a bias to a product and applies an activation.

    Args:
        x: Float tensor of shape (rows, dim), the product.
        bias: Float tensor of shape (dim,).
        activation: One of `ops.ACTIVATIONS`.
        dtype: Dtype of the result.

    Returns:
        Tensor of the shape of `x`.
    """
    return _bias_activation(activation, dtype)(x, bias)


@functools.cache
def _layer_norm(epsilon: float) -> Callable:
    @_compile
    def forward(x, gamma, beta):
        wide = tf.cast(x, tf.float32)
        centred = wide - tf.reduce_mean(wide, -1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
        return tf.cast(centred * scale * gamma + beta, x.dtype)

    @_compile
    def backward(x, gamma, dy):
        wide, dy = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
        centred = wide - tf.reduce_mean(wide, -1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
        normal = centred * scale
        slope = dy * gamma
        along = tf.reduce_mean(slope * normal, -1, keepdims=True)
        dx = (slope - tf.reduce_mean(slope, -1, keepdims=True) - normal * along) * scale
        return tf.cast(dx, x.dtype), tf.reduce_sum(dy * normal, 0), tf.reduce_sum(dy, 0)

    @tf.custom_gradient
    def apply(x, gamma, beta):
        return forward(x, gamma, beta), lambda dy: backward(x, gamma, dy)

    return apply


def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Normalises rows; see `keras_transformer.ops._tensorflow.layer_norm`.

    Args:
        x: Float tensor of shape (rows, dim).
        gamma: float32 scale, shape (dim,).
        beta: float32 shift, shape (dim,).
        epsilon: Added to the variance.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    return _layer_norm(epsilon)(x, gamma, beta)


@functools.cache
def _rms_norm(epsilon: float) -> Callable:
    @_compile
    def forward(x, gamma):
        wide = tf.cast(x, tf.float32)
        scale = tf.math.rsqrt(tf.reduce_mean(wide * wide, -1, keepdims=True) + epsilon)
        return tf.cast(wide * scale * gamma, x.dtype)

    @_compile
    def backward(x, gamma, dy):
        wide, dy = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
        scale = tf.math.rsqrt(tf.reduce_mean(wide * wide, -1, keepdims=True) + epsilon)
        normal, slope = wide * scale, dy * gamma
        dx = (slope - normal * tf.reduce_mean(slope * normal, -1, keepdims=True)) * scale
        return tf.cast(dx, x.dtype), tf.reduce_sum(dy * normal, 0)

    @tf.custom_gradient
    def apply(x, gamma):
        return forward(x, gamma), lambda dy: backward(x, gamma, dy)

    return apply


def rms_norm(x: tf.Tensor, gamma: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Divides rows by their root mean square; see `keras_transformer.ops._tensorflow.rms_norm`.

    Args:
        x: Float tensor of shape (rows, dim).
        gamma: float32 scale, shape (dim,).
        epsilon: Added to the mean square.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    return _rms_norm(epsilon)(x, gamma)


def _random_words(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Hashes 0, 1, ... and a seed to uniform 32-bit words, by two rounds of multiplication, shift and exclusive or.

    The seed decides where counting begins and is mixed in between the rounds, so that seeds which share a stretch of
    numbers do not share their words.
    """

    def fold(word, places):
        return word ^ tf.bitwise.right_shift(word, tf.constant(places, tf.uint32))

    def times(word, factor):
        return word * tf.constant(factor, tf.uint32)

    def hashed(word):  # of a single number: the finaliser of MurmurHash3
        return fold(times(fold(times(fold(word, 16), 0x85EBCA6B), 13), 0xC2B2AE35), 16)

    first, second = tf.unstack(tf.bitcast(seed, tf.uint32))
    second = hashed(second + tf.constant(0x9E3779B9, tf.uint32))
    word = tf.bitcast(tf.range(count, dtype=tf.int32), tf.uint32) + hashed(first + second)
    word = times(fold(word, 17), 0xED5AD4BB) ^ second
    return fold(times(fold(word, 11), 0xAC4C1B51), 15)


def _kept(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns a float32 tensor with a share `rate` of its values at 0 and the others scaled up."""
    keep = _random_words(tf.size(x), seed) >= tf.constant(round(rate * 2**32), tf.uint32)
    return tf.where(tf.reshape(keep, tf.shape(x)), tf.cast(x, tf.float32) * (1 / (1 - rate)), 0.0)


@functools.cache
def _drop(rate: float) -> Callable:
    return _compile(lambda x, seed: tf.cast(_kept(x, rate, seed), x.dtype))


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Sets values to 0; draws the same decisions again for the gradient instead of keeping them.

    Args:
        x: Float tensor.
        rate: Share in (0, 1).
        seed: int32 tensor of shape (2,).

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    drop = _drop(rate)

    @tf.custom_gradient
    def apply(x):
        return drop(x, seed), lambda dy: drop(dy, seed)

    return apply(x)


@functools.cache
def _scores_gradient(rate: float) -> Callable:
    @_compile
    def gradient(weights, dkept, along, seed):
        dweights = _kept(dkept, rate, seed) if rate else tf.cast(dkept, tf.float32)
        return tf.cast(tf.cast(weights, tf.float32) * (dweights - along), weights.dtype)

    return gradient


def scores_gradient(weights: tf.Tensor, dkept: tf.Tensor, along: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Takes the gradient of attention from the weights that were kept to the scores, in one pass.

    The gradient of a softmax subtracts from each value the sum of the row's values times its weights. Here that is the
    product of the context with its gradient, which is much smaller than the weights (Dao et al., arXiv 2205.14135).

    Args:
        weights: Float tensor (batch, heads, query_length, key_length), the softmax of the scores.
        dkept: Gradient of the weights after dropout, of the same shape.
        along: float32 (batch, heads, query_length, 1), the sum of the context times its gradient.
        rate: Share of the weights that dropout set to 0, in [0, 1).
        seed: int32 tensor of shape (2,), that of the dropout.

    Returns:
        Gradient of the scores, of the shape and dtype of `weights`.
    """
    return _scores_gradient(rate)(weights, dkept, along, seed)


@functools.cache
def _adamw_update(beta_1: float, beta_2: float) -> Callable:
    @_compile
    def update(gradient, mean, square, value, rate, epsilon, decay, scale):
        gradient = gradient * scale
        mean = mean + (gradient - mean) * (1 - beta_1)
        square = square + (gradient * gradient - square) * (1 - beta_2)
        return mean, square, value - (mean * rate / (tf.sqrt(square) + epsilon) + value * decay)

    return update


def adamw_update(gradient, mean, square, value, rate, epsilon, decay, scale, betas: tuple[float, float]) -> tuple:
    """Updates one variable; see `keras_transformer.ops._tensorflow.adamw_update`."""
    return _adamw_update(*betas)(gradient, mean, square, value, rate, epsilon, decay, scale)
