"""Position schemes that see the distance of two tokens; see `positions` for how a model uses them."""

import keras
import numpy as np

from keras_transformer import ops
from keras_transformer.layers.parts import check_positive
from keras_transformer.layers.positions import in_order


class _Relative(keras.layers.Layer):
    """Base of the schemes that see the distance of two tokens."""

    def _distances(self, token_ids, position_ids, key_positions):
        """Key position minus query position, int32 of shape (batch, query_length, key_length)."""
        queries = in_order(token_ids) if position_ids is None else position_ids
        return ops.relative_positions(queries, queries if key_positions is None else key_positions)

    def _distances_shape(self, token_ids_shape, position_ids_shape, key_positions_shape):
        batch = 1 if position_ids_shape is None else position_ids_shape[0]
        if key_positions_shape is not None:
            batch = key_positions_shape[0] if batch == 1 else batch
            return (batch, token_ids_shape[1], key_positions_shape[1])
        return (batch, token_ids_shape[1], token_ids_shape[1])


class _HeadBias(_Relative):
    """Base of the schemes whose result is a bias for each head."""

    role = "attention_bias"

    def compute_output_shape(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None):
        """Returns (1 or batch, heads, query_length, key_length)."""
        batch, *lengths = self._distances_shape(token_ids_shape, position_ids_shape, key_positions_shape)
        return (batch, self.num_heads, *lengths)

    def compute_output_spec(self, token_ids, position_ids=None, key_positions=None):
        """Returns the symbolic output, float32 under every dtype policy."""
        shapes = (None if t is None else t.shape for t in (token_ids, position_ids, key_positions))
        return keras.KerasTensor(self.compute_output_shape(*shapes), dtype="float32")


@keras.saving.register_keras_serializable("keras_transformer")
class RelativeBias(_HeadBias):
    """T5's bias: one trained number for each head and bucket of distances (Raffel et al., arXiv 1910.10683).

    Args:
        num_heads: Number of heads.
        bidirectional: Whether later tokens have buckets of their own; True (default) for encoders.
        num_buckets: Number of buckets. Default 32.
        max_distance: Distance from which on all share a bucket. Default 128.
        initializer_range: Standard deviation of the table's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, query_length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, query_length), or None for 0 .. query_length - 1.
        key_positions: Integer tensor of shape (1 or batch, key_length); None means those of the queries.

    Returns:
        Float32 tensor of shape (1 or batch, num_heads, query_length, key_length), an `attention_bias`.

    Raises:
        ValueError: For sizes that are not positive, or too few buckets.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import RelativeBias

        assert RelativeBias(num_heads=4)(np.zeros((2, 7))).shape == (1, 4, 7, 7)
        ```
    """

    def __init__(
        self,
        num_heads: int,
        bidirectional: bool = True,
        num_buckets: int = 32,
        max_distance: int = 128,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("num_heads", num_heads)
        ops.relative_buckets(np.zeros((1, 1), "int32"), bidirectional, num_buckets, max_distance)
        self.num_heads = num_heads
        self.bidirectional = bidirectional
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.initializer_range = initializer_range

    def build(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None) -> None:
        """Creates the table."""
        self.table = self.add_weight(
            name="table",
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=self.initializer_range),
            autocast=False,
        )

    def call(self, token_ids, position_ids=None, key_positions=None):
        """Reads the bias of every pair."""
        relative = self._distances(token_ids, position_ids, key_positions)
        buckets = ops.relative_buckets(relative, self.bidirectional, self.num_buckets, self.max_distance)
        return keras.ops.transpose(ops.lookup(self.table, buckets), (0, 3, 1, 2))

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "num_heads": self.num_heads,
            "bidirectional": self.bidirectional,
            "num_buckets": self.num_buckets,
            "max_distance": self.max_distance,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("keras_transformer")
class ALiBi(_HeadBias):
    """A penalty on the distance, of another slope for each head; nothing is trained (Press et al., arXiv 2108.12409).

    It is the same to both sides, so it serves encoders and, under a causal mask, decoders.

    Args:
        num_heads: Number of heads.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, query_length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, query_length), or None for 0 .. query_length - 1.
        key_positions: Integer tensor of shape (1 or batch, key_length); None means those of the queries.

    Returns:
        Float32 tensor of shape (1 or batch, num_heads, query_length, key_length), an `attention_bias`.

    Raises:
        ValueError: For a number of heads that is not positive.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import ALiBi

        bias = np.array(ALiBi(num_heads=8)(np.zeros((2, 3))))
        assert bias[0, 0].tolist() == [[0, -0.5, -1], [-0.5, 0, -0.5], [-1, -0.5, 0]]
        ```
    """

    def __init__(self, num_heads: int, **kwargs):
        super().__init__(**kwargs)
        check_positive("num_heads", num_heads)
        self.num_heads = num_heads
        self.slopes = ops.alibi_slopes(num_heads)

    def call(self, token_ids, position_ids=None, key_positions=None):
        """Computes the penalty of every pair."""
        return ops.alibi_bias(self._distances(token_ids, position_ids, key_positions), self.slopes)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"num_heads": self.num_heads}


@keras.saving.register_keras_serializable("keras_transformer")
class RelativeKeys(_Relative):
    """One trained key for each distance, which queries attend to as well (Shaw et al., arXiv 1803.02155).

    The paper's values by distance, which it found to add nothing (its table 3), are left out.

    Args:
        head_dim: Width of a head.
        max_distance: Distance beyond which all share a key. Default 16.
        initializer_range: Standard deviation of the table's truncated normal. Default 0.02.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        token_ids: Tensor of shape (batch, query_length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, query_length), or None for 0 .. query_length - 1.
        key_positions: Integer tensor of shape (1 or batch, key_length); None means those of the queries.

    Returns:
        Pair of the table, float of shape (2 * max_distance + 1, head_dim), and for each pair of tokens its row, int32
        of shape (1 or batch, query_length, key_length): the `relative_keys` of `MultiHeadAttention`.

    Raises:
        ValueError: For sizes that are not positive.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import MultiHeadAttention, RelativeKeys

        keys = RelativeKeys(head_dim=8)(np.zeros((2, 7)))
        x = np.random.rand(2, 7, 16).astype("float32")
        assert MultiHeadAttention(16, num_heads=2)(x, relative_keys=keys).shape == (2, 7, 16)
        ```
    """

    role = "relative_keys"

    def __init__(self, head_dim: int, max_distance: int = 16, initializer_range: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        check_positive("head_dim", head_dim)
        check_positive("max_distance", max_distance)
        self.head_dim = head_dim
        self.max_distance = max_distance
        self.initializer_range = initializer_range

    def build(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None) -> None:
        """Creates the table."""
        self.table = self.add_weight(
            name="table",
            shape=(2 * self.max_distance + 1, self.head_dim),
            initializer=keras.initializers.TruncatedNormal(stddev=self.initializer_range),
        )

    def call(self, token_ids, position_ids=None, key_positions=None):
        """Finds the row of every pair."""
        relative = self._distances(token_ids, position_ids, key_positions)
        index = keras.ops.clip(relative, -self.max_distance, self.max_distance) + self.max_distance
        return keras.ops.cast(self.table[:], self.compute_dtype), index

    def compute_output_spec(self, token_ids, position_ids=None, key_positions=None):
        """Returns the symbolic outputs."""
        shapes = (None if t is None else t.shape for t in (token_ids, position_ids, key_positions))
        table, index = self.compute_output_shape(*shapes)
        return keras.KerasTensor(table, dtype=self.compute_dtype), keras.KerasTensor(index, dtype="int32")

    def compute_output_shape(self, token_ids_shape, position_ids_shape=None, key_positions_shape=None):
        """Returns the shapes of the table and of the rows."""
        index = self._distances_shape(token_ids_shape, position_ids_shape, key_positions_shape)
        return (2 * self.max_distance + 1, self.head_dim), index

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "head_dim": self.head_dim,
            "max_distance": self.max_distance,
            "initializer_range": self.initializer_range,
        }
