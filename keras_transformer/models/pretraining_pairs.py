"""Masked tokens and the relation of two segments: BERT's next sentence, ALBERT's order of sentences."""

import keras

from keras_transformer import layers
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.pretraining_parts import (
    TEXT_INPUTS,
    _MaskedEncoding,
    _MaskedHead,
    backbone_of,
    create_inputs,
    policy_of,
)


@keras.saving.register_keras_serializable("keras_transformer")
class SentencePairModel(keras.Model):
    """An encoder that predicts masked tokens and, from the first token, which of two relations its segments have.

    The first token goes through the encoder's pooler, or through one of the model's own where the encoder has none.

    Args:
        backbone: `TransformerEncoder`, or its `get_config()` dict.
        activation: Activation of the head for masked tokens, one of `ops.ACTIVATIONS`; None (default) for that of the
            encoder's feed-forward networks.
        name: Name of the model. Default "sentence_pair_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors: `token_ids`, `segment_ids` and `padding_mask` of shape (batch, length), and
            `masked_positions` of shape (batch, count).

    Returns:
        Dict of float32 logits: `masked` of shape (batch, count, vocabulary_size), and `sentence` of shape (batch, 2).

    Raises:
        ValueError: If the backbone is no encoder, or the activation unknown.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, SentencePairModel, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = SentencePairModel(TransformerEncoder(config))
        ids = np.array([[2, 17, 3, 4, 3]], "int32")
        inputs = {"token_ids": ids, "segment_ids": np.array([[0, 0, 0, 1, 1]], "int32"), "padding_mask": ids * 0 + 1}
        outputs = model(inputs | {"masked_positions": np.array([[3]], "int32")})
        assert outputs["masked"].shape == (1, 1, 100) and outputs["sentence"].shape == (1, 2)
        ```
    """

    def __init__(
        self,
        backbone: TransformerEncoder | dict,
        activation: str | None = None,
        *,
        name: str = "sentence_pair_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerEncoder, backbone)
        config = backbone.config
        initializer = {"initializer_range": config.initializer_range}

        # Layers
        self.backbone = backbone
        self.encoding = _MaskedEncoding(backbone, with_first=True, name="encoding")
        self.masked_head = _MaskedHead(backbone, activation, name="masked_head")
        self.pooler = backbone.pooler or layers.Dense(
            config.hidden_dim, "tanh", name="pooler", **initializer, **policy_of(backbone)
        )
        self.sentence_head = layers.Dense(2, name="sentence_head", dtype="float32", **initializer)

        # Graph
        inputs = create_inputs(*TEXT_INPUTS, "masked_positions")
        states = self.encoding(inputs)
        outputs = {
            "masked": self.masked_head(states[:, 1:]),
            "sentence": self.sentence_head(self.pooler(states[:, 0])),
        }
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

        # Config
        self.activation = activation

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "backbone": self.backbone.get_config(),
            "activation": self.activation,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "SentencePairModel":
        """Builds the model from `get_config`."""
        return cls(**config)
