"""From a sequence of hidden states to one vector, or one for each of the texts that share a row."""

import keras

from keras_transformer import ops
from keras_transformer.layers.dense import Dense


class _Pooling(keras.layers.Layer):
    """Base of the poolings."""

    def compute_output_shape(self, sequence_shape, padding_mask_shape=None):
        """Returns (batch, dim), or (batch, texts, dim) for masks of several texts."""
        texts = padding_mask_shape[1:-1] if padding_mask_shape is not None else ()
        return (sequence_shape[0], *texts, sequence_shape[-1])


@keras.saving.register_keras_serializable("keras_transformer")
class MeanPooling(_Pooling):
    """Averages the hidden states of the real tokens.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        sequence: Float tensor of shape (batch, length, dim).
        padding_mask: Boolean or 0/1 integer tensor of shape (batch, length); 1 = a real token. For several texts in a
            row the tokens of each, (batch, texts, length), see `ops.example_masks`.

    Returns:
        Float tensor of shape (batch, dim), or (batch, texts, dim); zeros for a text without tokens.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MeanPooling

        pooled = MeanPooling()(np.array([[[1.0], [3.0], [9.0]]], "float32"), np.array([[1, 1, 0]]))
        assert float(pooled[0, 0]) == 2.0
        ```
    """

    def call(self, sequence, padding_mask):
        """Averages."""
        return ops.mean_pool(sequence, padding_mask)


@keras.saving.register_keras_serializable("keras_transformer")
class FirstTokenPooling(_Pooling):
    """Takes the hidden state of the first token, BERT's [CLS].

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        sequence: Float tensor of shape (batch, length, dim).
        padding_mask: Not used if of shape (batch, length). For several texts in a row the tokens of each,
            (batch, texts, length), see `ops.example_masks`.

    Returns:
        Float tensor of shape (batch, dim), or (batch, texts, dim).

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import FirstTokenPooling

        assert float(FirstTokenPooling()(np.array([[[1.0], [3.0]]], "float32"))[0, 0]) == 1.0
        ```
    """

    def call(self, sequence, padding_mask=None):
        """Takes the first position."""
        return ops.first_pool(sequence, padding_mask)


@keras.saving.register_keras_serializable("keras_transformer")
class MaxPooling(_Pooling):
    """Takes the largest value of each feature over the real tokens.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        sequence: Float tensor of shape (batch, length, dim).
        padding_mask: Boolean or 0/1 integer tensor of shape (batch, length); 1 = a real token. For several texts in a
            row the tokens of each, (batch, texts, length), see `ops.example_masks`.

    Returns:
        Float tensor of shape (batch, dim), or (batch, texts, dim); zeros for a text without tokens.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MaxPooling

        pooled = MaxPooling()(np.array([[[1.0], [3.0], [9.0]]], "float32"), np.array([[1, 1, 0]]))
        assert float(pooled[0, 0]) == 3.0
        ```
    """

    def call(self, sequence, padding_mask):
        """Takes the largest values."""
        return ops.max_pool(sequence, padding_mask)


@keras.saving.register_keras_serializable("keras_transformer")
class AttentionPooling(_Pooling):
    """Averages the real tokens by a learned score of each (self-attentive pooling; Lin et al., arXiv 1703.03130).

    Args:
        initializer_range: Standard deviation of the score vector's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        sequence: Float tensor of shape (batch, length, dim).
        padding_mask: Boolean or 0/1 integer tensor of shape (batch, length); 1 = a real token. For several texts in a
            row the tokens of each, (batch, texts, length), see `ops.example_masks`.

    Returns:
        Float tensor of shape (batch, dim), or (batch, texts, dim); zeros for a text without tokens.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionPooling

        pooled = AttentionPooling()(np.ones((2, 3, 8), "float32"), np.array([[1, 1, 0], [1, 1, 1]]))
        assert np.allclose(pooled, 1, atol=1e-6)
        ```
    """

    def __init__(self, initializer_range: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        self.initializer_range = initializer_range
        self.score = Dense(
            1, use_bias=False, initializer_range=initializer_range, name="score", dtype=self.dtype_policy
        )

    def build(self, sequence_shape, padding_mask_shape=None) -> None:
        """Builds the score."""
        self.score.build(sequence_shape)

    def call(self, sequence, padding_mask):
        """Averages."""
        return ops.attention_pool(sequence, keras.ops.squeeze(self.score(sequence), -1), padding_mask)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"initializer_range": self.initializer_range}
