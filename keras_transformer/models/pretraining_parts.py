"""What the models of pretraining share: inputs, an encoder computed for some of the tokens, masked-token logits."""

from typing import Any

import keras

from keras_transformer import layers, ops
from keras_transformer.models.encoder import TransformerEncoder

TEXT_INPUTS = ("token_ids", "segment_ids", "padding_mask")
PACKED_INPUTS = ("position_ids", "example_ids")


def create_inputs(*names: str) -> dict:
    """Returns Keras inputs by name, int32 of shape (batch, length)."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def backbone_of(cls: type, backbone: Any) -> keras.Model:
    """Returns the backbone of a model for pretraining, built if it is the dict of its `get_config`.

    Raises:
        ValueError: If it is no backbone of that class.
    """
    if isinstance(backbone, dict):
        return cls.from_config(backbone)
    if not isinstance(backbone, cls):
        raise ValueError(f"backbone must be a {cls.__name__}, or its config. Received: {type(backbone).__name__}")
    return backbone


def policy_of(encoder: TransformerEncoder) -> dict[str, Any]:
    """Returns the dtype policy of an encoder, as an argument of a layer."""
    return {"dtype": encoder.embeddings.dtype_policy}


class _MaskedEncoding(keras.layers.Layer):
    """Hidden states of the masked tokens: the last block of an encoder is computed for no others.

    It is a layer, and not a part of the graph of the model, because where each row has places of its own, the gather
    needs sizes that symbolic tensors do not have.

    Args:
        encoder: `TransformerEncoder`.
        with_first: Whether the first token of each row stands before the masked ones.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Dict of int32 tensors: `TEXT_INPUTS` and, or not, `PACKED_INPUTS`, of shape (batch, length), and
            `masked_positions` of shape (batch, count).
        training: Whether dropout is active.

    Returns:
        Float tensor of shape (batch, count, hidden_dim), or (batch, 1 + count, hidden_dim) `with_first`.
    """

    def __init__(self, encoder: TransformerEncoder, with_first: bool = False, **kwargs):
        super().__init__(**policy_of(encoder) | kwargs)
        self.encoder = encoder
        self.with_first = with_first

    def call(self, inputs, training: bool | None = None):
        places = inputs["masked_positions"]
        if self.with_first:
            places = keras.ops.concatenate([keras.ops.zeros_like(places[:, :1]), places], axis=1)
        position_ids = inputs.get("position_ids")
        embeddings = self.encoder.embed(inputs["token_ids"], inputs["segment_ids"], position_ids, training=training)
        return self.encoder.encode(
            embeddings,
            inputs["padding_mask"],
            training=training,
            position_ids=position_ids,
            example_ids=inputs.get("example_ids"),
            places=places,
        )

    def compute_output_spec(self, inputs, training: bool | None = None):
        batch, count = inputs["masked_positions"].shape
        count = count + 1 if count is not None and self.with_first else count
        return keras.KerasTensor((batch, count, self.encoder.config.hidden_dim), dtype=self.compute_dtype)


class _MaskedHead(keras.layers.Layer):
    """Logits of masked tokens: dense, activation and norm, then the product with the token table, and a bias.

    Args:
        encoder: `TransformerEncoder`, whose token table gives the logits.
        activation: One of `ops.ACTIVATIONS`, or None for that of the encoder's feed-forward networks.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float tensor of shape (batch, count, dim).

    Returns:
        Float32 tensor of shape (batch, count, vocabulary_size).
    """

    def __init__(self, encoder: TransformerEncoder, activation: str | None = None, **kwargs):
        super().__init__(**policy_of(encoder) | kwargs)
        config = encoder.config
        self.tokens = encoder.embeddings.tokens
        self.transform = layers.Dense(
            self.tokens.dim,
            activation or config.feed_forward.activation,
            initializer_range=config.initializer_range,
            name="transform",
            **policy_of(encoder),
        )
        self.transform_norm = layers.create_norm(config.norm, name="transform_norm", **policy_of(encoder))

    def build(self, x_shape) -> None:
        self.transform.build(x_shape)
        self.transform_norm.build((*x_shape[:-1], self.tokens.dim))
        self.bias = self.add_weight(name="bias", shape=(self.tokens.vocabulary_size,), initializer="zeros")

    def call(self, x):
        x = self.transform_norm(self.transform(x))
        return keras.ops.cast(ops.dense(x, self.tokens.table, self.bias, transpose_kernel=True), "float32")

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], self.tokens.vocabulary_size), dtype="float32")
