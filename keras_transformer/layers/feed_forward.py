"""Position-wise feed-forward network (Vaswani et al., arXiv 1706.03762, section 3.3)."""

import keras

from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.parts import FeedForwardConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class FeedForward(keras.layers.Layer):
    """Two projections with an activation between them, which a third one may gate.

    Args:
        hidden_dim: Width of the output.
        intermediate_dim: Width between the projections.
        activation: One of `ops.ACTIVATIONS`. Default "gelu".
        gated: Whether the activation is multiplied by another projection of the input (SwiGLU with "silu", GEGLU with
            "gelu"; Shazeer, arXiv 2002.05202). Default False.
        use_bias: Whether the projections have a bias. Default True.
        dropout: Dropout rate between the projections. Default 0.
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, length, dim).
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, length, hidden_dim).

    Raises:
        ValueError: For a width that is not positive or an unknown activation.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import FeedForward

        assert FeedForward(8, 32, activation="relu")(np.ones((2, 3, 8), "float32")).shape == (2, 3, 8)
        ```
    """

    def __init__(
        self,
        hidden_dim: int,
        intermediate_dim: int,
        activation: str = "gelu",
        gated: bool = False,
        use_bias: bool = True,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("hidden_dim", hidden_dim)
        FeedForwardConfig(intermediate_dim, activation, gated, use_bias, dropout)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.gated = gated
        self.use_bias = use_bias
        self.dropout = dropout
        self.initializer_range = initializer_range
        options = {"use_bias": use_bias, "initializer_range": initializer_range, "dtype": self.dtype_policy}
        self.intermediate = Dense(intermediate_dim, activation, name="intermediate", **options)
        self.gate = Dense(intermediate_dim, name="gate", **options) if gated else None
        self.inner_dropout = Dropout(dropout, name="inner_dropout", dtype=self.dtype_policy)
        self.output_projection = Dense(hidden_dim, name="output", **options)

    def build(self, input_shape) -> None:
        """Builds the projections."""
        self.intermediate.build(input_shape)
        if self.gate is not None:
            self.gate.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.intermediate_dim))

    def call(self, x, training: bool | None = None):
        """Applies the projections."""
        inner = self.intermediate(x)
        if self.gate is not None:
            inner = inner * self.gate(x)
        return self.output_projection(self.inner_dropout(inner, training=training))

    def compute_output_shape(self, input_shape):
        """Returns the input shape with `hidden_dim` last."""
        return (*input_shape[:-1], self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "activation": self.activation,
            "gated": self.gated,
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }
