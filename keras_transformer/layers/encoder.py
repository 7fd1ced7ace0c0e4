"""Encoder block."""

import functools

import keras

from keras_transformer.layers.block import _Block


@keras.saving.register_keras_serializable("keras_transformer")
class EncoderBlock(_Block):
    """Self-attention and a feed-forward network, each with a residual connection and a norm.

    Args:
        hidden_dim: Width of the hidden states.
        attention: `AttentionConfig` or its dict.
        feed_forward: `FeedForwardConfig` or its dict.
        norm: `NormConfig` or its dict.
        residual: "post_norm" (default; 2017, BERT), "pre_norm", or "parallel" for both sublayers side by side.
        dropout: Dropout rate on the output of both sublayers. Default 0.
        stochastic_depth: Share of the examples for which a sublayer is left out in training. Default 0.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        recompute: Whether training computes the block a second time for the gradient instead of keeping what is
            inside it: less memory, more time, the same result. Default False.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, length, hidden_dim).
        attention_bias: Float tensor broadcast to (batch, heads, length, length), or None; see `AttentionMask`.
        row_valid: Float tensor broadcast to (batch, heads, length, 1), or None; see `AttentionMask`.
        rotation: From `RotaryPositions`, or None.
        relative_keys: From `RelativeKeys`, or None.
        query: Those of the tokens of `x` whose output is wanted, float of shape (batch, query_length, hidden_dim), or
            None for all of them. They attend to all of `x`; nothing else is computed for the other tokens. Bias,
            row_valid and relative keys are then those of `query`.
        query_rotation: With `query` and `rotation`, the rotation of `query`.
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, length, hidden_dim), or of the shape of `query`.

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

    def call(
        self,
        x,
        attention_bias=None,
        row_valid=None,
        rotation=None,
        relative_keys=None,
        query=None,
        query_rotation=None,
        training: bool | None = None,
    ):
        """Applies the block."""

        def block(x, query=None, **tensors):
            attend = functools.partial(self.attention, **tensors, training=training)
            if query is None:
                return self._apply(x, {"attention": attend}, training)
            keys = x if self.residual == "post_norm" else self.attention_norm(x)
            attend = functools.partial(attend, key_value=keys)
            return self._apply(keras.ops.cast(query, self.compute_dtype), {"attention": attend}, training)

        return self._run(
            block,
            training,
            x=x,
            attention_bias=attention_bias,
            row_valid=row_valid,
            rotation=rotation,
            relative_keys=relative_keys,
            query=query,
            query_rotation=query_rotation,
        )

    def compute_output_shape(self, x_shape, query_shape=None):
        """Returns the shape of the input, or of the query."""
        return x_shape if query_shape is None else query_shape
