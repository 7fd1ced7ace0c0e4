"""Position-wise feed-forward network (Vaswani et al., arXiv 1706.03762, section 3.3)."""

import keras

from keras_transformer.layers.dense import Dense
from keras_transformer.layers.parts import FeedForwardConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class FeedForward(keras.layers.Layer):
    """Two projections with an activation between them.

    Args:
        hidden_dim: Width of the output.
        intermediate_dim: Width between the projections.
        activation: One of `ops.ACTIVATIONS`. Default "gelu".
        initializer_range: Standard deviation of the kernels' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, length, dim).

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
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("hidden_dim", hidden_dim)
        FeedForwardConfig(intermediate_dim, activation)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.initializer_range = initializer_range
        options = {"initializer_range": initializer_range, "dtype": self.dtype_policy}
        self.intermediate = Dense(intermediate_dim, activation, name="intermediate", **options)
        self.output_projection = Dense(hidden_dim, name="output", **options)

    def build(self, input_shape) -> None:
        """Builds both projections."""
        self.intermediate.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.intermediate_dim))

    def call(self, x):
        """Applies both projections."""
        return self.output_projection(self.intermediate(x))

    def compute_output_shape(self, input_shape):
        """Returns the input shape with `hidden_dim` last."""
        return (*input_shape[:-1], self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "activation": self.activation,
            "initializer_range": self.initializer_range,
        }
