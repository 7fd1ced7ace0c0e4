"""Texts told apart by their vectors: unsupervised SimCSE (Gao et al., arXiv 2104.08821)."""

import keras

from keras_transformer import layers, ops
from keras_transformer.layers.parts import check_choice
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.pretraining_parts import TEXT_INPUTS, backbone_of, create_inputs, policy_of

POOLING = ("mean", "first")


@keras.saving.register_keras_serializable("keras_transformer")
class ContrastiveModel(keras.Model):
    """An encoder that reads every text twice, under different dropout, and finds its second vector among those of all.

    A pair is the two vectors of a text; the second vectors of the other texts of the batch are its negatives. Under a
    `tf.distribute` strategy with several replicas these are the texts of the same replica. The backbone needs dropout:
    without it the two vectors of a text are the same.

    Args:
        backbone: `TransformerEncoder`, or its `get_config()` dict.
        pooling: "mean" (default) over the real tokens, or "first" token.
        temperature: What cosine similarities are divided by, above 0. Default 0.05.
        projection: Whether a dense layer with tanh, which is left behind afterwards, stands between pooling and
            similarity, as in the paper. Default True.
        name: Name of the model. Default "contrastive_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: The dict that the encoder takes.

    Returns:
        Dict with `pair`, float32 of shape (batch, batch): the logits of a text's second vector. Column 0 is that of the
        text itself, column j of the j-th text after it, counted around the batch; so the label is 0 everywhere.

    Raises:
        ValueError: If the backbone is no encoder, for an unknown pooling, or a temperature not above 0.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import ContrastiveModel, EncoderConfig, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=1,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = ContrastiveModel(TransformerEncoder(config))
        ids = np.array([[2, 17, 3], [2, 8, 3]], "int32")
        logits = model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1})["pair"]
        assert logits.shape == (2, 2) and abs(float(logits[0, 0]) - 1 / 0.05) < 1e-3  # no dropout: the same vector
        ```
    """

    def __init__(
        self,
        backbone: TransformerEncoder | dict,
        pooling: str = "mean",
        temperature: float = 0.05,
        projection: bool = True,
        *,
        name: str = "contrastive_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerEncoder, backbone)
        check_choice("pooling", pooling, POOLING)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0. Received: {temperature!r}")
        config, policy = backbone.config, policy_of(backbone)

        # Layers
        self.backbone = backbone
        self.pool = {"mean": layers.MeanPooling, "first": layers.FirstTokenPooling}[pooling](name="pool", **policy)
        self.projection_layer = (
            layers.Dense(
                config.hidden_dim, "tanh", initializer_range=config.initializer_range, name="projection", **policy
            )
            if projection
            else None
        )
        self.similarity = _Similarity(temperature, name="similarity")

        # Graph
        inputs = create_inputs(*TEXT_INPUTS)
        twice = {key: keras.ops.concatenate([tensor, tensor], axis=0) for key, tensor in inputs.items()}
        embeddings = backbone.embed(twice["token_ids"], twice["segment_ids"])
        places = {"places": slice(0, 1)} if pooling == "first" else {}
        sequence = backbone.encode(embeddings, twice["padding_mask"], **places)
        vectors = self.pool(sequence, twice["padding_mask"])
        if self.projection_layer is not None:
            vectors = self.projection_layer(vectors)
        super().__init__(inputs=inputs, outputs={"pair": self.similarity(vectors)}, name=name, trainable=trainable)

        # Config
        self.pooling = pooling
        self.temperature = temperature
        self.projection = projection

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "backbone": self.backbone.get_config(),
            "pooling": self.pooling,
            "temperature": self.temperature,
            "projection": self.projection,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ContrastiveModel":
        """Builds the model from `get_config`."""
        return cls(**config)


class _Similarity(keras.layers.Layer):
    """Cosine similarities of the first half of the vectors with the second, each row rolled to begin with its own.

    Args:
        temperature: What they are divided by.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        vectors: Float tensor of shape (2 * batch, dim).

    Returns:
        Float32 tensor of shape (batch, batch).
    """

    def __init__(self, temperature: float, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.temperature = temperature

    def call(self, vectors):
        vectors = keras.ops.cast(vectors, "float32")
        # A floor under the square of the length: a vector of zeros has a gradient, too.
        square = keras.ops.maximum(keras.ops.sum(keras.ops.square(vectors), axis=-1, keepdims=True), 1e-12)
        vectors = vectors * keras.ops.rsqrt(square)
        count = keras.ops.shape(vectors)[0] // 2
        scores = keras.ops.matmul(vectors[:count], keras.ops.transpose(vectors[count:])) / self.temperature
        numbers = keras.ops.arange(count, dtype="int32")
        return ops.take_tokens(scores, (keras.ops.expand_dims(numbers, 1) + numbers) % count)

    def compute_output_spec(self, vectors):
        count = None if vectors.shape[0] is None else vectors.shape[0] // 2
        return keras.KerasTensor((count, count), dtype="float32")
