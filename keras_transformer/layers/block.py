"""What encoder and decoder blocks share: the parts, and how residual connections and norms are arranged."""

import keras

from keras_transformer import ops
from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.dropout import Dropout, StochasticDepth
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.normalization import create_norm
from keras_transformer.layers.parts import AttentionConfig, FeedForwardConfig, NormConfig, check_choice, check_positive

RESIDUALS = ("post_norm", "pre_norm", "parallel")
"""Norm after each residual sum (2017, BERT); norm before each sublayer (Xiong et al., arXiv 2002.04745); or attention
and feed-forward side by side, each after a norm of its own (GPT-NeoX, arXiv 2204.06745)."""


class _Block(keras.layers.Layer):
    """Base of `EncoderBlock` and `DecoderBlock`; see there."""

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
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.autocast = False  # bias and rotation stay float32
        check_positive("hidden_dim", hidden_dim)
        check_choice("residual", residual, RESIDUALS)
        self.hidden_dim = hidden_dim
        self.attention_config = AttentionConfig.from_dict(attention)
        self.feed_forward_config = FeedForwardConfig.from_dict(feed_forward)
        self.norm_config = NormConfig.from_dict(norm or {})
        self.residual = residual
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth
        self.initializer_range = initializer_range
        self.recompute = recompute
        self.attention = self._attention("attention")
        self.attention_norm = self._norm("attention_norm")
        self.attention_dropout = self._dropout("attention_dropout")
        self.attention_depth = self._depth("attention_depth")
        self.feed_forward = FeedForward(
            hidden_dim,
            **self.feed_forward_config.to_dict(),
            initializer_range=initializer_range,
            name="feed_forward",
            dtype=self.dtype_policy,
        )
        self.feed_forward_norm = self._norm("feed_forward_norm")
        self.feed_forward_dropout = self._dropout("feed_forward_dropout")
        self.feed_forward_depth = self._depth("feed_forward_depth")

    def _attention(self, name: str) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.hidden_dim,
            **self.attention_config.to_dict(),
            initializer_range=self.initializer_range,
            name=name,
            dtype=self.dtype_policy,
        )

    def _norm(self, name: str) -> keras.layers.Layer:
        return create_norm(self.norm_config, name=name, dtype=self.dtype_policy)

    def _dropout(self, name: str) -> Dropout:
        return Dropout(self.dropout, name=name, dtype=self.dtype_policy)

    def _depth(self, name: str) -> StochasticDepth:
        return StochasticDepth(self.stochastic_depth, name=name, dtype=self.dtype_policy)

    def build(self, x_shape) -> None:
        """Builds the sublayers."""
        if len(x_shape) != 3 or x_shape[-1] != self.hidden_dim:
            raise ValueError(f"x must have shape (batch, length, {self.hidden_dim}). Received: shape={tuple(x_shape)}")
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(x_shape)

    def _run(self, function, training: bool | None, **tensors):
        """Calls a function of the tensors that are there, in training without keeping its inner results if wanted."""
        present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        present["x"] = keras.ops.cast(present["x"], self.compute_dtype)
        if not (training and self.recompute):
            return function(**present)
        generators = [layer.seed_generator for layer in self._flatten_layers() if hasattr(layer, "seed_generator")]
        generators = [generator for generator in generators if generator is not None]
        return ops.recompute(lambda tensors: function(**tensors), present, generators)

    def _apply(self, x, attentions: dict, training: bool | None):
        """Applies the attentions, functions of hidden states by name, one after the other; then feeds forward."""

        def feed(y):
            return self.feed_forward(y, training=training)

        y = x
        for name, attend in attentions.items():
            y = self._branch(y, attend, name, training)
        if self.residual == "parallel":
            return y + self._dropped(feed(self.feed_forward_norm(x)), "feed_forward", training)
        return self._branch(y, feed, "feed_forward", training)

    def _branch(self, x, sublayer, name: str, training: bool | None):
        """Returns `x` with the output of a sublayer added, in the arrangement of this block."""
        norm = getattr(self, f"{name}_norm")
        if self.residual == "post_norm":
            return norm(x + self._dropped(sublayer(x), name, training))
        return x + self._dropped(sublayer(norm(x)), name, training)

    def _dropped(self, y, name: str, training: bool | None):
        y = getattr(self, f"{name}_dropout")(y, training=training)
        return getattr(self, f"{name}_depth")(y, training=training)

    def compute_output_shape(self, x_shape):
        """Returns the input shape."""
        return x_shape

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "attention": self.attention_config.to_dict(),
            "feed_forward": self.feed_forward_config.to_dict(),
            "norm": self.norm_config.to_dict(),
            "residual": self.residual,
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            "initializer_range": self.initializer_range,
            "recompute": self.recompute,
        }
