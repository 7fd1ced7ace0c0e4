"""Multi-head attention (Vaswani et al., arXiv 1706.03762) over the one `ops.attention`."""

import math

import keras

from keras_transformer import ops
from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.parts import AttentionConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class MultiHeadAttention(keras.layers.Layer):
    """Projects to heads, attends, and projects back; queries may share keys and values (MQA, GQA).

    Args:
        hidden_dim: Width of the output.
        num_heads: Number of heads.
        head_dim: Width of a head; None means hidden_dim / num_heads.
        dropout: Dropout rate on the attention weights. Default 0.
        num_key_value_heads: Number of heads of keys and values, a divisor of `num_heads`: 1 for multi-query, more for
            grouped-query attention (Ainslie et al., arXiv 2305.13245). None means `num_heads`.
        use_bias: Whether the projections have a bias. Default True.
        scaled: Whether scores are divided by the root of the head's width. Default True.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        query: Float tensor of shape (batch, query_length, dim).
        key_value: Float tensor of shape (batch, key_length, dim), or None for self-attention.
        attention_bias: Float tensor broadcast to (batch, heads, query_length, key_length), added to the scores.
        row_valid: Float tensor broadcast to (batch, heads, query_length, 1): 0 for rows whose result shall be 0.
        rotation: Float32 tensor of shape (1 or batch, 1, key_length, width), from `RotaryPositions`; turns the keys,
            and the queries of the same tokens.
        query_rotation: The same for queries of other tokens, (1 or batch, 1, query_length, width), or None.
        relative_keys: Pair from `RelativeKeys`: a key for each distance, and which one each pair of tokens has.
        cache: Dict of `key` and `value`, float of shape (batch, key_heads, cache_length, head_dim), or None; see
            `empty_cache` and `key_value_cache`.
        cache_index: Place in the cache of the first token of `query`, an integer scalar; None with a cache: attend to
            the cache as it is (cross-attention).
        training: Whether dropout is active.
        return_weights: Also return the attention weights.

    Returns:
        Float tensor of shape (batch, query_length, hidden_dim); followed by the weights, float32 of shape
        (batch, heads, query_length, key_length), with `return_weights`; followed by the new cache, if one was given.

    Raises:
        ValueError: If the heads do not divide the hidden dimension, or the query is not of rank 3.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MultiHeadAttention

        x = np.random.rand(2, 5, 16).astype("float32")
        y, weights = MultiHeadAttention(hidden_dim=16, num_heads=4, num_key_value_heads=2)(x, return_weights=True)
        assert y.shape == (2, 5, 16) and weights.shape == (2, 4, 5, 5)
        ```
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        head_dim: int | None = None,
        dropout: float = 0.0,
        num_key_value_heads: int | None = None,
        use_bias: bool = True,
        scaled: bool = True,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.autocast = False  # bias and rotation stay float32
        check_positive("hidden_dim", hidden_dim)
        config = AttentionConfig(num_heads, head_dim, dropout, num_key_value_heads, use_bias, scaled)
        self._head_width = config.head_width(hidden_dim)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.num_key_value_heads = num_key_value_heads
        self.use_bias = use_bias
        self.scaled = scaled
        self.initializer_range = initializer_range
        self._key_heads = num_key_value_heads or num_heads
        options = {"use_bias": use_bias, "initializer_range": initializer_range, "dtype": self.dtype_policy}
        self.query = Dense(num_heads * self._head_width, name="query", **options)
        self.key = Dense(self._key_heads * self._head_width, name="key", **options)
        self.value = Dense(self._key_heads * self._head_width, name="value", **options)
        self.output_projection = Dense(hidden_dim, name="output", **options)
        self.weights_dropout = Dropout(dropout, name="weights_dropout", dtype=self.dtype_policy)

    def build(self, query_shape, key_value_shape=None) -> None:
        """Builds the four projections, and what weights are dropped by."""
        if len(query_shape) != 3:
            raise ValueError(f"query must have shape (batch, length, dim). Received: shape={tuple(query_shape)}")
        self.query.build(query_shape)
        for projection in (self.key, self.value):
            projection.build(key_value_shape or query_shape)
        self.output_projection.build((*query_shape[:-1], self.num_heads * self._head_width))
        self.weights_dropout.build(None)  # it is never called: `ops.attention` draws from its generator

    def call(
        self,
        query,
        key_value=None,
        attention_bias=None,
        row_valid=None,
        rotation=None,
        relative_keys=None,
        query_rotation=None,
        cache=None,
        cache_index=None,
        training: bool | None = None,
        return_weights: bool = False,
    ):
        """Attends."""
        query = keras.ops.cast(query, self.compute_dtype)
        q = self._split(self.query(query))
        if rotation is not None:
            q = ops.rotate(q, rotation if query_rotation is None else query_rotation)
        if cache is None or cache_index is not None:
            given = self.key_value_cache(query if key_value is None else key_value, rotation)
            if cache is not None:
                given = {name: ops.update_cache(cache[name], given[name], cache_index) for name in ("key", "value")}
        else:
            given = cache
        scale = 1.0 / math.sqrt(self._head_width) if self.scaled else 1.0
        if relative_keys is not None:
            scores = ops.relative_scores(q, *relative_keys) * scale
            attention_bias = scores if attention_bias is None else scores + keras.ops.cast(attention_bias, scores.dtype)
        result = ops.attention(
            q,
            keras.ops.cast(given["key"], q.dtype),
            keras.ops.cast(given["value"], q.dtype),
            bias=attention_bias,
            row_valid=row_valid,
            dropout=(self.dropout, self.weights_dropout.seed_generator) if training and self.dropout > 0 else None,
            scale=scale,
            return_weights=return_weights,
        )
        context, weights = result if return_weights else (result, None)
        context = keras.ops.transpose(context, (0, 2, 1, 3))
        context = keras.ops.reshape(context, (*ops.reshape_sizes(context), self.num_heads * self._head_width))
        outputs = [self.output_projection(context)]
        if return_weights:
            outputs.append(weights)
        if cache is not None:
            outputs.append(given)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def key_value_cache(self, key_value, rotation=None) -> dict:
        """Returns the keys and values of tokens: for cross-attention, once for all steps of decoding.

        Args:
            key_value: Float tensor of shape (batch, key_length, dim).
            rotation: As for a call, or None.

        Returns:
            Dict of `key` and `value`, float of shape (batch, key_heads, key_length, head_dim).
        """
        key_value = keras.ops.cast(key_value, self.compute_dtype)
        key = self._split(self.key(key_value))
        return {
            "key": key if rotation is None else ops.rotate(key, rotation),
            "value": self._split(self.value(key_value)),
        }

    def empty_cache(self, batch, length: int) -> dict:
        """Returns a cache without tokens.

        Args:
            batch: Number of rows, an int or an integer scalar tensor.
            length: Number of tokens that it can hold.

        Returns:
            Dict of `key` and `value`, zeros of shape (batch, key_heads, length, head_dim).
        """
        shape = (batch, self._key_heads, length, self._head_width)
        return {name: keras.ops.zeros(shape, self.compute_dtype) for name in ("key", "value")}

    def _split(self, x):
        """(batch, length, heads * width) -> (batch, heads, length, width)."""
        x = keras.ops.reshape(x, (*ops.reshape_sizes(x), x.shape[-1] // self._head_width, self._head_width))
        return keras.ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(
        self,
        query,
        key_value=None,
        attention_bias=None,
        row_valid=None,
        rotation=None,
        relative_keys=None,
        query_rotation=None,
        cache=None,
        cache_index=None,
        training=None,
        return_weights=False,
    ):
        """Returns the symbolic outputs."""
        outputs = [keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)]
        if return_weights:
            key_length = cache["key"].shape[2] if cache else (query if key_value is None else key_value).shape[1]
            shape = (query.shape[0], self.num_heads, query.shape[1], key_length)
            outputs.append(keras.KerasTensor(shape, dtype="float32"))
        if cache is not None:
            outputs.append({name: keras.KerasTensor(cache[name].shape, cache[name].dtype) for name in cache})
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def compute_output_shape(self, query_shape, key_value_shape=None):
        """Returns the shape of the output without weights."""
        return (*query_shape[:-1], self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "dropout": self.dropout,
            "num_key_value_heads": self.num_key_value_heads,
            "use_bias": self.use_bias,
            "scaled": self.scaled,
            "initializer_range": self.initializer_range,
        }
