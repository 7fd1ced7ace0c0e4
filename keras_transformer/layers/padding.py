"""The padding mask, turned once per model call into what every block receives."""

import keras

from keras_transformer import ops
from keras_transformer.ops.masks import MASK_FILL


@keras.saving.register_keras_serializable("keras_transformer")
class PaddingBias(keras.layers.Layer):
    """Turns a padding mask into an additive attention bias and a row-valid factor.

    Args:
        fill_value: Bias of a masked key. The default suits float training; full int8 inference needs about -30.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        padding_mask: Boolean or 0/1 integer tensor of shape (batch, length); 1 = a real token.

    Returns:
        Pair of `attention_bias`, float of shape (batch, 1, 1, length), and `row_valid`, float of shape
        (batch, 1, 1, 1), which is 0 for a row of padding only.

    Raises:
        ValueError: For a mask that is not of rank 2, or a fill value that is not negative.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import PaddingBias

        bias, valid = PaddingBias()(np.array([[1, 1, 0]]))
        assert np.array(bias).tolist() == [[[[0, 0, -30000]]]] and float(valid[0, 0, 0, 0]) == 1
        ```
    """

    def __init__(self, fill_value: float = MASK_FILL, **kwargs):
        super().__init__(**kwargs)
        if not fill_value < 0:
            raise ValueError(f"fill_value must be negative. Received: {fill_value!r}")
        self.fill_value = fill_value

    def build(self, input_shape) -> None:
        """Checks the rank of the mask."""
        if len(input_shape) != 2:
            raise ValueError(f"padding_mask must have shape (batch, length). Received: shape={tuple(input_shape)}")

    def call(self, padding_mask):
        """Computes bias and factor."""
        bias = ops.attention_bias(padding_mask, self.fill_value)
        valid = ops.row_valid(padding_mask)
        return keras.ops.cast(bias, self.compute_dtype), keras.ops.cast(valid, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shapes of the bias and of the factor."""
        return (input_shape[0], 1, 1, input_shape[1]), (input_shape[0], 1, 1, 1)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"fill_value": self.fill_value}
