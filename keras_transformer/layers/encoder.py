"""Encoder block, post-norm as the 2017 Transformer and BERT, or pre-norm (Xiong et al., arXiv 2002.04745)."""

import keras

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.normalization import LayerNorm
from keras_transformer.layers.parts import AttentionConfig, FeedForwardConfig, NormConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class EncoderBlock(keras.layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection and a norm.

    Args:
        hidden_dim: Width of the hidden states.
        attention: `AttentionConfig` or its dict.
        feed_forward: `FeedForwardConfig` or its dict.
        norm: `NormConfig` or its dict.
        norm_first: True for pre-norm, False (default) for post-norm.
        dropout: Dropout rate on the output of both sublayers. Default 0.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, length, hidden_dim).
        attention_bias: Float tensor broadcast to (batch, heads, length, length), or None; see `PaddingBias`.
        row_valid: Float tensor broadcast to (batch, heads, length, 1), or None; see `PaddingBias`.
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, length, hidden_dim).

    Raises:
        ValueError: If the heads do not divide `hidden_dim`, or the last axis of `x` is not `hidden_dim`.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, EncoderBlock, FeedForwardConfig

        block = EncoderBlock(16, AttentionConfig(num_heads=4), FeedForwardConfig(intermediate_dim=64))
        assert block(np.random.rand(2, 5, 16).astype("float32")).shape == (2, 5, 16)
        ```
    """

    def __init__(
        self,
        hidden_dim: int,
        attention: AttentionConfig | dict,
        feed_forward: FeedForwardConfig | dict,
        norm: NormConfig | dict | None = None,
        norm_first: bool = False,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.attention_config = AttentionConfig.from_dict(attention)
        self.feed_forward_config = FeedForwardConfig.from_dict(feed_forward)
        self.norm_config = NormConfig.from_dict(norm or {})
        self.norm_first = norm_first
        self.dropout = dropout
        self.initializer_range = initializer_range
        policy = {"dtype": self.dtype_policy}
        options = policy | {"initializer_range": initializer_range}
        self.attention = MultiHeadAttention(hidden_dim, **self.attention_config.to_dict(), name="attention", **options)
        self.attention_norm = LayerNorm(**self.norm_config.to_dict(), name="attention_norm", **policy)
        self.attention_dropout = Dropout(dropout, name="attention_dropout", **policy)
        self.feed_forward = FeedForward(
            hidden_dim, **self.feed_forward_config.to_dict(), name="feed_forward", **options
        )
        self.feed_forward_norm = LayerNorm(**self.norm_config.to_dict(), name="feed_forward_norm", **policy)
        self.feed_forward_dropout = Dropout(dropout, name="feed_forward_dropout", **policy)

    def build(self, input_shape) -> None:
        """Builds the sublayers."""
        if len(input_shape) != 3 or input_shape[-1] != self.hidden_dim:
            raise ValueError(
                f"x must have shape (batch, length, {self.hidden_dim}). Received: shape={tuple(input_shape)}"
            )
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(input_shape)

    def call(self, x, attention_bias=None, row_valid=None, training: bool | None = None):
        """Applies the block."""

        def attend(y):
            y = self.attention(y, attention_bias=attention_bias, row_valid=row_valid, training=training)
            return self.attention_dropout(y, training=training)

        def feed(y):
            return self.feed_forward_dropout(self.feed_forward(y), training=training)

        if self.norm_first:
            x = x + attend(self.attention_norm(x))
            return x + feed(self.feed_forward_norm(x))
        x = self.attention_norm(x + attend(x))
        return self.feed_forward_norm(x + feed(x))

    def compute_output_shape(self, input_shape):
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "attention": self.attention_config.to_dict(),
            "feed_forward": self.feed_forward_config.to_dict(),
            "norm": self.norm_config.to_dict(),
            "norm_first": self.norm_first,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }
