"""Dense projection with bias and activation in one fused product."""

import keras

from keras_transformer import ops
from keras_transformer.layers.parts import check_choice, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class Dense(keras.layers.Dense):
    """Multiplies the last axis by a matrix, adds a bias and applies an activation.

    `enable_lora` and the merging of adapters when it is saved are those of `keras.layers.Dense`.

    Args:
        units: Width of the output.
        activation: One of `ops.ACTIVATIONS`. Default "linear".
        use_bias: Whether a bias is added. Default True.
        initializer_range: Standard deviation of the truncated normal that initialises the kernel. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (..., input_dim).

    Returns:
        Float tensor of shape (..., units).

    Raises:
        ValueError: For a width that is not positive or an unknown activation.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import Dense

        assert Dense(4, activation="gelu")(np.ones((2, 3, 8), "float32")).shape == (2, 3, 4)
        ```
    """

    def __init__(
        self,
        units: int,
        activation: str = "linear",
        use_bias: bool = True,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        check_positive("units", units)
        check_choice("activation", activation, ops.ACTIVATIONS)
        super().__init__(units, use_bias=use_bias, kernel_initializer="zeros", **kwargs)
        self.activation = activation
        self.initializer_range = initializer_range

    def build(self, input_shape) -> None:
        """Creates the kernel and the bias."""
        # Here, because an initializer draws its seed when it is made.
        self.kernel_initializer = keras.initializers.TruncatedNormal(stddev=self.initializer_range)
        super().build(input_shape)

    def quantize(self, *arguments, **options) -> None:
        """Refuses: Keras' quantized forms do not go through `ops.dense`."""
        raise self._not_implemented_error(self.quantize)

    def call(self, x):
        """Applies the projection."""
        return ops.dense(x, self.kernel, self.bias, self.activation)

    def compute_output_shape(self, input_shape):
        """Returns the input shape with `units` last."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return keras.layers.Layer.get_config(self) | {
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "initializer_range": self.initializer_range,
        }
