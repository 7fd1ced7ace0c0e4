"""Masks, turned once per model call into what every block receives."""

import keras

from keras_transformer import ops
from keras_transformer.layers.parts import check_positive
from keras_transformer.ops.masks import MASK_FILL


@keras.saving.register_keras_serializable("keras_transformer")
class AttentionMask(keras.layers.Layer):
    """Turns a padding mask into an additive attention bias and a row-valid factor, for encoders and decoders.

    Args:
        causal: Whether a token sees itself and earlier tokens only. Default False.
        window: Number of neighbours that a token sees, itself included, on each side unless causal; None for all.
        fill_value: Bias of a masked key. The default suits float training; full int8 inference needs about -30.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        padding_mask: Boolean or 0/1 integer tensor of shape (batch, key_length); 1 = a real token.
        example_ids: Integer tensor of shape (batch, key_length) or None: the example of each token, where several
            share a row; they do not see each other.
        prefix_mask: Boolean or 0/1 integer tensor of shape (batch, key_length) or None: tokens that all others see.
        query_length: Number of queries; None means as many as keys.
        offset: Place of the first query among the keys, an int or an integer scalar tensor. Default 0.

    Returns:
        Pair of `attention_bias` and `row_valid`, which is 0 for a query that sees nothing. Float of shape
        (batch, 1, 1, key_length) and (batch, 1, 1, 1) if the padding alone decides, else
        (batch, 1, query_length, key_length) and (batch, 1, query_length, 1).

    Raises:
        ValueError: For a mask that is not of rank 2, a fill value that is not negative, or a window not above 0.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionMask

        bias, valid = AttentionMask()(np.array([[1, 1, 0]]))
        assert np.array(bias).tolist() == [[[[0, 0, -30000]]]] and float(valid[0, 0, 0, 0]) == 1
        bias, _ = AttentionMask(causal=True)(np.array([[1, 1]]))
        assert np.array(bias).tolist() == [[[[0, -30000], [0, 0]]]]
        ```
    """

    def __init__(self, causal: bool = False, window: int | None = None, fill_value: float = MASK_FILL, **kwargs):
        super().__init__(**kwargs)
        if not fill_value < 0:
            raise ValueError(f"fill_value must be negative. Received: {fill_value!r}")
        if window is not None:
            check_positive("window", window)
        self.causal = causal
        self.window = window
        self.fill_value = fill_value

    def build(self, padding_mask_shape, example_ids_shape=None, prefix_mask_shape=None) -> None:
        """Checks the rank of the mask."""
        if len(padding_mask_shape) != 2:
            raise ValueError(
                f"padding_mask must have shape (batch, length). Received: shape={tuple(padding_mask_shape)}"
            )

    def call(self, padding_mask, example_ids=None, prefix_mask=None, query_length=None, offset=0):
        """Computes bias and factor."""
        key_length = keras.ops.shape(padding_mask)[1]
        queries = key_length if query_length is None else query_length
        masks = [padding_mask]
        if self.causal and prefix_mask is not None:
            masks.append(ops.prefix_mask(prefix_mask, queries, offset))
        elif self.causal and self.window is None:
            masks.append(ops.causal_mask(queries, key_length, offset))
        if self.window is not None:
            masks.append(ops.sliding_window_mask(self.window, queries, key_length, offset, self.causal))
        if example_ids is not None:
            here = (
                keras.ops.slice(
                    example_ids, (0, keras.ops.cast(offset, "int32")), (keras.ops.shape(example_ids)[0], queries)
                )
                if query_length is not None
                else example_ids
            )
            masks.append(ops.block_diagonal_mask(here, example_ids))
        mask = padding_mask if len(masks) == 1 else ops.combine_masks(*masks)
        bias, valid = ops.attention_bias(mask, self.fill_value), ops.row_valid(mask)
        return keras.ops.cast(bias, self.compute_dtype), keras.ops.cast(valid, self.compute_dtype)

    def compute_output_shape(self, padding_mask_shape, example_ids_shape=None, prefix_mask_shape=None):
        """Returns the shapes of the bias and of the factor."""
        batch, length = padding_mask_shape
        queries = 1 if not self.causal and self.window is None and example_ids_shape is None else length
        return (batch, 1, queries, length), (batch, 1, queries, 1)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"causal": self.causal, "window": self.window, "fill_value": self.fill_value}
