"""Token and segment embeddings, and logits from the same table."""

import keras

from keras_transformer import ops
from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.normalization import create_norm
from keras_transformer.layers.parts import NormConfig, check_positive


@keras.saving.register_keras_serializable("keras_transformer")
class TokenEmbedding(keras.layers.Layer):
    """A trained vector for each token; backwards, the logit of each token (Press and Wolf, arXiv 1608.05859).

    Args:
        vocabulary_size: Number of tokens.
        dim: Width of a vector.
        scaled: Whether vectors are multiplied by the root of their width, as in the 2017 Transformer. Default False.
        initializer_range: Standard deviation of the table's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Integer tensor of shape (batch, length); with `reverse`, float tensor of shape (..., dim).
        reverse: Whether hidden states are turned into logits. Default False.

    Returns:
        Float tensor of shape (batch, length, dim); with `reverse`, float32 of shape (..., vocabulary_size).

    Raises:
        ValueError: For sizes that are not positive.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import TokenEmbedding

        embed = TokenEmbedding(vocabulary_size=10, dim=8)
        x = embed(np.array([[3, 1, 2]]))
        assert x.shape == (1, 3, 8) and embed(x, reverse=True).shape == (1, 3, 10)
        ```
    """

    def __init__(self, vocabulary_size: int, dim: int, scaled: bool = False, initializer_range: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        check_positive("vocabulary_size", vocabulary_size)
        check_positive("dim", dim)
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.scaled = scaled
        self.initializer_range = initializer_range

    def build(self, inputs_shape) -> None:
        """Creates the table."""
        self.table = self.add_weight(
            name="table",
            shape=(self.vocabulary_size, self.dim),
            initializer=keras.initializers.TruncatedNormal(stddev=self.initializer_range),
        )

    def call(self, inputs, reverse: bool = False):
        """Reads the table, or multiplies by it."""
        if reverse:
            return keras.ops.cast(ops.dense(inputs, self.table, transpose_kernel=True), "float32")
        x = ops.lookup(self.table, inputs)
        return x * self.dim**0.5 if self.scaled else x

    def compute_output_spec(self, inputs, reverse: bool = False):
        """Returns the symbolic output."""
        if reverse:
            return keras.KerasTensor((*inputs.shape[:-1], self.vocabulary_size), dtype="float32")
        return keras.KerasTensor((*inputs.shape, self.dim), dtype=self.compute_dtype)

    def compute_output_shape(self, inputs_shape):
        """Returns (batch, length, dim)."""
        return (*inputs_shape, self.dim)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "dim": self.dim,
            "scaled": self.scaled,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("keras_transformer")
class TransformerEmbedding(keras.layers.Layer):
    """Sums token, segment and position embeddings, then normalises, drops, and widens.

    Args:
        vocabulary_size: Number of tokens.
        hidden_dim: Width of an embedding.
        num_segments: Number of segments; 0 for none. Default 2.
        norm: `NormConfig`, its dict, or None for no norm.
        dropout: Dropout rate. Default 0.
        embedding_dim: Width of the tables, from which a projection leads to `hidden_dim` (factorised embedding, Lan et
            al., arXiv 1909.11942); None means `hidden_dim`, without a projection.
        scaled: Whether token embeddings are multiplied by the root of their width. Default False.
        initializer_range: Standard deviation of the tables' truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Integer tensor of shape (batch, length).
        segment_ids: Integer tensor of shape (batch, length); needed if `num_segments` is above 0.
        positions: Float tensor broadcast to (batch, length, embedding_dim), or None.
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
        embedding_dim: int | None = None,
        scaled: bool = False,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("vocabulary_size", vocabulary_size)
        check_positive("hidden_dim", hidden_dim)
        if embedding_dim is not None:
            check_positive("embedding_dim", embedding_dim)
        if isinstance(num_segments, bool) or not isinstance(num_segments, int) or num_segments < 0:
            raise ValueError(f"num_segments must be an integer of at least 0. Received: {num_segments!r}")
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.num_segments = num_segments
        self.norm_config = None if norm is None else NormConfig.from_dict(norm)
        self.dropout = dropout
        self.embedding_dim = embedding_dim
        self.scaled = scaled
        self.initializer_range = initializer_range
        self._width = embedding_dim or hidden_dim
        policy = {"dtype": self.dtype_policy}
        self.tokens = TokenEmbedding(vocabulary_size, self._width, scaled, initializer_range, name="tokens", **policy)
        self.norm = None if norm is None else create_norm(self.norm_config, name="norm", **policy)
        self.output_dropout = Dropout(dropout, name="dropout", **policy)
        self.projection = (
            None
            if embedding_dim is None
            else Dense(hidden_dim, initializer_range=initializer_range, name="projection", **policy)
        )

    def build(self, token_ids_shape, segment_ids_shape=None, positions_shape=None) -> None:
        """Creates the tables."""
        if not self.tokens.built:  # an encoder may share them
            self.tokens.build(token_ids_shape)
        if self.num_segments:
            self.segment_table = self.add_weight(
                name="segment_table",
                shape=(self.num_segments, self._width),
                initializer=keras.initializers.TruncatedNormal(stddev=self.initializer_range),
            )
        for layer in (self.norm, self.projection):
            if layer is not None:
                layer.build((*token_ids_shape, self._width))

    def call(self, token_ids, segment_ids=None, positions=None, training: bool | None = None):
        """Sums, normalises and drops."""
        x = self.tokens(token_ids)
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
        x = self.output_dropout(x, training=training)
        return x if self.projection is None else self.projection(x)

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
            "embedding_dim": self.embedding_dim,
            "scaled": self.scaled,
            "initializer_range": self.initializer_range,
        }
