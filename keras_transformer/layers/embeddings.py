"""Token, segment and position embeddings."""

import keras

from keras_transformer import ops
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.normalization import LayerNorm
from keras_transformer.layers.parts import NormConfig, check_positive


class _Positions(keras.layers.Layer):
    """Base of the absolute position schemes: rows 0 .. length - 1 of a table, or the rows asked for."""

    def __init__(self, max_length: int, hidden_dim: int, **kwargs):
        super().__init__(**kwargs)
        check_positive("max_length", max_length)
        check_positive("hidden_dim", hidden_dim)
        self.max_length = max_length
        self.hidden_dim = hidden_dim

    def call(self, token_ids, position_ids=None):
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

    def compute_output_shape(self, token_ids_shape, position_ids_shape=None):
        """Returns (1, length, hidden_dim), or with position ids (batch, length, hidden_dim)."""
        self._check_length(token_ids_shape[1] if position_ids_shape is None else None)
        return (1 if position_ids_shape is None else token_ids_shape[0], token_ids_shape[1], self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"max_length": self.max_length, "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable("keras_transformer")
class LearnedPositions(_Positions):
    """One trained vector for each position.

    Args:
        max_length: Number of positions.
        hidden_dim: Width of a vector.
        initializer_range: Standard deviation of the table's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Integer tensor of shape (batch, length); only its shape is read.
        position_ids: Integer tensor of shape (batch, length), or None for 0 .. length - 1.

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
class SinCosPositions(_Positions):
    """Sines and cosines of the position (Vaswani et al., arXiv 1706.03762, section 3.5); nothing is trained.

    Args:
        max_length: Number of positions.
        hidden_dim: Width of a vector.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Integer tensor of shape (batch, length); only its shape is read.
        position_ids: Integer tensor of shape (batch, length), or None for 0 .. length - 1.

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
class TransformerEmbedding(keras.layers.Layer):
    """Sums token, segment and position embeddings, then normalises and drops.

    Args:
        vocabulary_size: Number of tokens.
        hidden_dim: Width of an embedding.
        num_segments: Number of segments; 0 for none. Default 2.
        norm: `NormConfig`, its dict, or None for no norm.
        dropout: Dropout rate. Default 0.
        initializer_range: Standard deviation of the tables' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Integer tensor of shape (batch, length).
        segment_ids: Integer tensor of shape (batch, length); needed if `num_segments` is above 0.
        positions: Float tensor broadcast to (batch, length, hidden_dim), or None.
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, length, hidden_dim).

    Raises:
        ValueError: If the segment ids are missing.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import NormConfig, TransformerEmbedding

        ids = np.array([[3, 1, 2]])
        embed = TransformerEmbedding(vocabulary_size=10, hidden_dim=8, norm=NormConfig())
        assert embed(ids, np.zeros_like(ids)).shape == (1, 3, 8)
        ```
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        num_segments: int = 2,
        norm: NormConfig | dict | None = None,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("vocabulary_size", vocabulary_size)
        check_positive("hidden_dim", hidden_dim)
        if isinstance(num_segments, bool) or not isinstance(num_segments, int) or num_segments < 0:
            raise ValueError(f"num_segments must be an integer of at least 0. Received: {num_segments!r}")
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.num_segments = num_segments
        self.norm_config = None if norm is None else NormConfig.from_dict(norm)
        self.dropout = dropout
        self.initializer_range = initializer_range
        policy = {"dtype": self.dtype_policy}
        self.norm = None if norm is None else LayerNorm(**self.norm_config.to_dict(), name="norm", **policy)
        self.output_dropout = Dropout(dropout, name="dropout", **policy)

    def build(self, token_ids_shape, segment_ids_shape=None, positions_shape=None) -> None:
        """Creates the tables."""
        initializer = keras.initializers.TruncatedNormal(stddev=self.initializer_range)
        self.token_table = self.add_weight(
            name="token_table", shape=(self.vocabulary_size, self.hidden_dim), initializer=initializer
        )
        if self.num_segments:
            self.segment_table = self.add_weight(
                name="segment_table", shape=(self.num_segments, self.hidden_dim), initializer=initializer.clone()
            )
        if self.norm is not None:
            self.norm.build((*token_ids_shape, self.hidden_dim))

    def call(self, token_ids, segment_ids=None, positions=None, training: bool | None = None):
        """Sums, normalises and drops."""
        x = ops.lookup(self.token_table, token_ids)
        if self.num_segments:
            if segment_ids is None:
                raise ValueError(
                    f"{self.name} has {self.num_segments} segments: pass segment_ids of shape (batch, length), "
                    "zeros for single texts. Received: segment_ids=None"
                )
            x = x + ops.lookup(self.segment_table, segment_ids)
        if positions is not None:
            x = x + positions
        if self.norm is not None:
            x = self.norm(x)
        return self.output_dropout(x, training=training)

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None, positions_shape=None):
        """Returns (batch, length, hidden_dim)."""
        return (*token_ids_shape, self.hidden_dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "num_segments": self.num_segments,
            "norm": None if self.norm_config is None else self.norm_config.to_dict(),
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }
