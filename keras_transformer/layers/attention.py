"""Multi-head attention (Vaswani et al., arXiv 1706.03762) over the one `ops.attention`."""

import keras

from keras_transformer import ops
from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.parts import AttentionConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class MultiHeadAttention(keras.layers.Layer):
    """Projects to heads, attends, and projects back.

    Args:
        hidden_dim: Width of the output.
        num_heads: Number of heads.
        head_dim: Width of a head; None means hidden_dim / num_heads.
        dropout: Dropout rate on the attention weights. Default 0.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        query: Float tensor of shape (batch, query_length, dim).
        key_value: Float tensor of shape (batch, key_length, dim), or None for self-attention.
        attention_bias: Float tensor broadcast to (batch, heads, query_length, key_length), added to the scores.
        row_valid: Float tensor broadcast to (batch, heads, query_length, 1): 0 for rows whose result shall be 0.
        training: Whether dropout is active.
        return_weights: Also return the attention weights.

    Returns:
        Float tensor of shape (batch, query_length, hidden_dim); with `return_weights` a pair with the weights,
        float32 of shape (batch, heads, query_length, key_length).

    Raises:
        ValueError: If the heads do not divide the hidden dimension, or the query is not of rank 3.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MultiHeadAttention

        x = np.random.rand(2, 5, 16).astype("float32")
        y, weights = MultiHeadAttention(hidden_dim=16, num_heads=4)(x, return_weights=True)
        assert y.shape == (2, 5, 16) and weights.shape == (2, 4, 5, 5)
        ```
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        head_dim: int | None = None,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("hidden_dim", hidden_dim)
        AttentionConfig(num_heads, head_dim, dropout)
        if head_dim is None and hidden_dim % num_heads:
            raise ValueError(
                f"num_heads must divide hidden_dim, or head_dim must be given. "
                f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}"
            )
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.initializer_range = initializer_range
        self._head_width = head_dim or hidden_dim // num_heads
        inner = num_heads * self._head_width
        options = {"initializer_range": initializer_range, "dtype": self.dtype_policy}
        self.query = Dense(inner, name="query", **options)
        self.key = Dense(inner, name="key", **options)
        self.value = Dense(inner, name="value", **options)
        self.output_projection = Dense(hidden_dim, name="output", **options)
        self.weights_dropout = Dropout(dropout, name="weights_dropout", dtype=self.dtype_policy)

    def build(self, query_shape, key_value_shape=None) -> None:
        """Builds the four projections."""
        if len(query_shape) != 3:
            raise ValueError(f"query must have shape (batch, length, dim). Received: shape={tuple(query_shape)}")
        self.query.build(query_shape)
        for projection in (self.key, self.value):
            projection.build(key_value_shape or query_shape)
        self.output_projection.build((*query_shape[:-1], self.num_heads * self._head_width))

    def call(
        self,
        query,
        key_value=None,
        attention_bias=None,
        row_valid=None,
        training: bool | None = None,
        return_weights: bool = False,
    ):
        """Attends."""
        key_value = query if key_value is None else key_value
        drop = self._drop if training and self.dropout > 0 else None
        result = ops.attention(
            self._split(self.query(query)),
            self._split(self.key(key_value)),
            self._split(self.value(key_value)),
            bias=attention_bias,
            row_valid=row_valid,
            dropout=drop,
            return_weights=return_weights,
        )
        context, weights = result if return_weights else (result, None)
        context = keras.ops.transpose(context, (0, 2, 1, 3))
        length = keras.ops.shape(context)[1]
        context = keras.ops.reshape(context, (-1, length, self.num_heads * self._head_width))
        output = self.output_projection(context)
        return (output, weights) if return_weights else output

    def _drop(self, weights):
        return self.weights_dropout(weights, training=True)

    def _split(self, x):
        """(batch, length, heads * width) -> (batch, heads, length, width)."""
        x = keras.ops.reshape(x, (-1, keras.ops.shape(x)[1], self.num_heads, self._head_width))
        return keras.ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(
        self, query, key_value=None, attention_bias=None, row_valid=None, training=None, return_weights=False
    ):
        """Returns the symbolic outputs."""
        output = keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
        if not return_weights:
            return output
        key_length = (query if key_value is None else key_value).shape[1]
        shape = (query.shape[0], self.num_heads, query.shape[1], key_length)
        return output, keras.KerasTensor(shape, dtype="float32")

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
            "initializer_range": self.initializer_range,
        }
