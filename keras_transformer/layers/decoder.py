"""Decoder block, with or without attention to an encoder, and with a cache."""

import keras

from keras_transformer.layers.block import _Block
from keras_transformer.layers.parts import AttentionConfig, FeedForwardConfig, NormConfig


@keras.saving.register_keras_serializable("keras_transformer")
class DecoderBlock(_Block):
    """Self-attention, attention to an encoder's output if wanted, and a feed-forward network.

    The causal mask comes with `attention_bias`: `AttentionMask(causal=True)`.

    Args:
        hidden_dim: Width of the hidden states.
        attention: `AttentionConfig` or its dict, of both attentions.
        feed_forward: `FeedForwardConfig` or its dict.
        norm: `NormConfig` or its dict.
        residual: "post_norm" (default; 2017, BERT), "pre_norm", or "parallel" for both sublayers side by side.
        dropout: Dropout rate on the output of every sublayer. Default 0.
        stochastic_depth: Share of the examples for which a sublayer is left out in training. Default 0.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        recompute: Whether training computes the block a second time for the gradient instead of keeping what is
            inside it: less memory, more time, the same result. Default False.
        cross_attention: Whether the block attends to an encoder's output. Default False.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, length, hidden_dim).
        attention_bias: Float tensor broadcast to (batch, heads, length, key_length), or None; see `AttentionMask`.
        row_valid: Float tensor broadcast to (batch, heads, length, 1), or None; see `AttentionMask`.
        rotation: From `RotaryPositions`, or None.
        relative_keys: From `RelativeKeys`, or None.
        encoder_output: Float tensor of shape (batch, encoder_length, dim); not needed with a cache.
        encoder_bias: Float tensor broadcast to (batch, heads, length, encoder_length), or None.
        encoder_row_valid: Float tensor broadcast to (batch, heads, length, 1), or None.
        cache: Dict from `empty_cache`, or None.
        cache_index: Place in the cache of the first token of `x`, an integer scalar.
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, length, hidden_dim); with a cache, the pair of it and the new cache.

    Raises:
        ValueError: If the heads do not divide `hidden_dim`, the last axis of `x` is not `hidden_dim`, or if
            cross-attention is asked of a parallel block or lacks an encoder's output.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, AttentionMask, DecoderBlock, FeedForwardConfig

        block = DecoderBlock(16, AttentionConfig(num_heads=4), FeedForwardConfig(64), residual="pre_norm")
        bias, valid = AttentionMask(causal=True)(np.ones((2, 5), "int32"))
        x = np.random.rand(2, 5, 16).astype("float32")
        assert block(x, attention_bias=bias, row_valid=valid).shape == (2, 5, 16)
        ```
    """

    def __init__(
        self,
        hidden_dim: int,
        attention: AttentionConfig | dict,
        feed_forward: FeedForwardConfig | dict,
        norm: NormConfig | dict | None = None,
        residual: str = "post_norm",
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        initializer_range: float = 0.02,
        recompute: bool = False,
        cross_attention: bool = False,
        **kwargs,
    ):
        shared = (attention, feed_forward, norm, residual, dropout, stochastic_depth, initializer_range, recompute)
        super().__init__(hidden_dim, *shared, **kwargs)
        if cross_attention and self.residual == "parallel":
            raise ValueError(
                "Cross-attention has no place in a parallel block: use residual='pre_norm' or 'post_norm'. "
                "Received: cross_attention=True, residual='parallel'"
            )
        self.cross_attention = cross_attention
        self.encoder_attention = self._attention("encoder_attention") if cross_attention else None
        self.encoder_attention_norm = self._norm("encoder_attention_norm") if cross_attention else None
        self.encoder_attention_dropout = self._dropout("encoder_attention_dropout")
        self.encoder_attention_depth = self._depth("encoder_attention_depth")

    def build(self, x_shape, encoder_output_shape=None) -> None:
        """Builds the sublayers."""
        super().build(x_shape)
        if self.cross_attention:
            self.encoder_attention.build(x_shape, encoder_output_shape or x_shape)
            self.encoder_attention_norm.build(x_shape)

    def call(
        self,
        x,
        attention_bias=None,
        row_valid=None,
        rotation=None,
        relative_keys=None,
        encoder_output=None,
        encoder_bias=None,
        encoder_row_valid=None,
        cache=None,
        cache_index=None,
        training: bool | None = None,
    ):
        """Applies the block."""
        if self.cross_attention and encoder_output is None and cache is None:
            raise ValueError(f"{self.name} attends to an encoder: pass encoder_output. Received: None")
        kept = {}

        def attend(layer, name, **tensors):
            def attention(y):
                if cache is None:
                    return layer(y, **tensors, training=training)
                y, kept[name] = layer(y, **tensors, cache=cache[name], training=training)
                return y

            return attention

        def block(x, encoder_output=None, encoder_bias=None, encoder_row_valid=None, **tensors):
            attentions = {"attention": attend(self.attention, "self", **tensors, cache_index=cache_index)}
            if self.cross_attention:
                attentions["encoder_attention"] = attend(
                    self.encoder_attention,
                    "encoder",
                    key_value=encoder_output,
                    attention_bias=encoder_bias,
                    row_valid=encoder_row_valid,
                )
            return self._apply(x, attentions, training)

        y = self._run(
            block,
            training and cache is None,  # `kept` cannot leave what is computed again
            x=x,
            attention_bias=attention_bias,
            row_valid=row_valid,
            rotation=rotation,
            relative_keys=relative_keys,
            encoder_output=encoder_output,
            encoder_bias=encoder_bias,
            encoder_row_valid=encoder_row_valid,
        )
        return y if cache is None else (y, kept)

    def empty_cache(self, batch, length: int, encoder_output=None) -> dict:
        """Returns a cache without tokens, with the encoder's keys and values in it.

        Args:
            batch: Number of rows, an int or an integer scalar tensor.
            length: Number of tokens that it can hold.
            encoder_output: Float tensor of shape (batch, encoder_length, dim); needed for cross-attention.

        Returns:
            Dict of `self` and, with cross-attention, `encoder`: each a dict of `key` and `value`.

        Raises:
            ValueError: If the encoder's output is missing.
        """
        cache = {"self": self.attention.empty_cache(batch, length)}
        if self.cross_attention:
            if encoder_output is None:
                raise ValueError(f"{self.name} attends to an encoder: pass encoder_output. Received: None")
            cache["encoder"] = self.encoder_attention.key_value_cache(encoder_output)
        return cache

    def compute_output_spec(self, x, *args, cache=None, **kwargs):
        """Returns the symbolic outputs."""
        output = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        if cache is None:
            return output
        return output, keras.tree.map_structure(lambda t: keras.KerasTensor(t.shape, t.dtype), cache)

    def compute_output_shape(self, x_shape, encoder_output_shape=None):
        """Returns the input shape."""
        return x_shape

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"cross_attention": self.cross_attention}
