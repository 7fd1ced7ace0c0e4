"""Absolute and rotary positions. A model owns a scheme, calls it once, and hands the tensors to its blocks.

`role` says what becomes of the result: "embedding" is added to the token embeddings, "rotation" turns queries and keys,
"attention_bias" is added to the scores, "relative_keys" makes a part of the scores from the queries.
"""

import keras

from keras_transformer import ops
from keras_transformer.layers.parts import check_positive


def in_order(token_ids):
    """Returns the positions 0 .. length - 1, int32 of shape (1, length)."""
    return keras.ops.expand_dims(keras.ops.arange(keras.ops.shape(token_ids)[1], dtype="int32"), 0)


class _Table(keras.layers.Layer):
    """Base of the absolute schemes: rows 0 .. length - 1 of a table, or the rows asked for."""

    role = "embedding"

    def __init__(self, max_length: int, hidden_dim: int, **kwargs):
        super().__init__(**kwargs)
        check_positive("max_length", max_length)
        check_positive("hidden_dim", hidden_dim)
        self.max_length = max_length
        self.hidden_dim = hidden_dim

    def call(self, token_ids, position_ids=None, key_positions=None):
        """Reads the table."""
        if position_ids is not None:
            return keras.ops.cast(ops.lookup(self.table, position_ids), self.compute_dtype)
        self._check_length(token_ids.shape[1])
        rows = keras.ops.convert_to_tensor(self.table)[: keras.ops.shape(token_ids)[1]]
        return keras.ops.cast(keras.ops.expand_dims(rows, axis=0), self.compute_dtype)

    def _check_length(self, length: int | None) -> None:
        if length is not None and length > self.max_length:
            raise ValueError(
                f"{self.name} has {self.max_length} positions. Truncate the input. Received: length={length}"
            )

    def compute_output_shape(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None):
        """Returns (1, length, hidden_dim), or with position ids (batch, length, hidden_dim)."""
        self._check_length(token_ids_shape[1] if position_ids_shape is None else None)
        return (1 if position_ids_shape is None else position_ids_shape[0], token_ids_shape[1], self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"max_length": self.max_length, "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable("keras_transformer")
class LearnedPositions(_Table):
    """One trained vector for each position.

    Args:
        max_length: Number of positions.
        hidden_dim: Width of a vector.
        initializer_range: Standard deviation of the table's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, length), or None for 0 .. length - 1.
        key_positions: Accepted so that every scheme is called in the same way; not used.

    Returns:
        Float tensor of shape (1, length, hidden_dim), or (batch, length, hidden_dim) for given position ids.

    Raises:
        ValueError: For more than `max_length` positions.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import LearnedPositions

        assert LearnedPositions(512, 16)(np.zeros((2, 7), "int32")).shape == (1, 7, 16)
        ```
    """

    def __init__(self, max_length: int, hidden_dim: int, initializer_range: float = 0.02, **kwargs):
        super().__init__(max_length, hidden_dim, **kwargs)
        self.initializer_range = initializer_range

    def build(self, input_shape) -> None:
        """Creates the table."""
        self.table = self.add_weight(
            name="table",
            shape=(self.max_length, self.hidden_dim),
            initializer=keras.initializers.TruncatedNormal(stddev=self.initializer_range),
        )

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"initializer_range": self.initializer_range}


@keras.saving.register_keras_serializable("keras_transformer")
class SinCosPositions(_Table):
    """Sines and cosines of the position (Vaswani et al., arXiv 1706.03762, section 3.5); nothing is trained.

    Args:
        max_length: Number of positions.
        hidden_dim: Width of a vector.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, length), or None for 0 .. length - 1.
        key_positions: Accepted so that every scheme is called in the same way; not used.

    Returns:
        Float tensor of shape (1, length, hidden_dim), or (batch, length, hidden_dim) for given position ids.

    Raises:
        ValueError: For more than `max_length` positions.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import SinCosPositions

        rows = np.array(SinCosPositions(512, 16)(np.zeros((2, 7), "int32")))
        assert rows[0, 0].tolist() == [0, 1] * 8
        ```
    """

    def __init__(self, max_length: int, hidden_dim: int, **kwargs):
        super().__init__(max_length, hidden_dim, **kwargs)
        self.table = ops.sincos_table(max_length, hidden_dim)


@keras.saving.register_keras_serializable("keras_transformer")
class RotaryPositions(keras.layers.Layer):
    """Turns pairs of features by an angle that grows with the position (Su et al., arXiv 2104.09864).

    Args:
        dim: Number of features of a head that are turned, even; the head's width, or a part of it.
        theta: Base of the frequencies. Default 10000.
        scaling: "none" (default), "linear" or "ntk", for texts longer than in training; see `ops.rotary_frequencies`.
        factor: How many times longer, at least 1. Default 1.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, length), or None for 0 .. length - 1.
        key_positions: Accepted so that every scheme is called in the same way; not used.

    Returns:
        Float32 tensor of shape (1 or batch, 1, length, dim), the `rotation` of `MultiHeadAttention`.

    Raises:
        ValueError: For an odd width, an unknown scaling or a factor below 1.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MultiHeadAttention, RotaryPositions

        ids, x = np.zeros((2, 7), "int32"), np.random.rand(2, 7, 16).astype("float32")
        assert MultiHeadAttention(16, num_heads=2)(x, rotation=RotaryPositions(8)(ids)).shape == (2, 7, 16)
        ```
    """

    role = "rotation"

    def __init__(self, dim: int, theta: float = 10000.0, scaling: str = "none", factor: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.theta = theta
        self.scaling = scaling
        self.factor = factor
        self.frequencies = ops.rotary_frequencies(dim, theta, scaling, factor)

    def call(self, token_ids, position_ids=None, key_positions=None):
        """Computes the angles."""
        return ops.rotation(in_order(token_ids) if position_ids is None else position_ids, self.frequencies)

    def compute_output_spec(self, token_ids, position_ids=None, key_positions=None):
        """Returns the symbolic output, float32 under every dtype policy."""
        batch = 1 if position_ids is None else position_ids.shape[0]
        return keras.KerasTensor((batch, 1, token_ids.shape[1], self.dim), dtype="float32")

    def compute_output_shape(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None):
        """Returns (1 or batch, 1, length, dim)."""
        return (1 if position_ids_shape is None else position_ids_shape[0], 1, token_ids_shape[1], self.dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "dim": self.dim,
            "theta": self.theta,
            "scaling": self.scaling,
            "factor": self.factor,
        }
