"""Masked tokens: the model with which BERT is pretrained (arXiv 1810.04805)."""

import keras

from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.pretraining_parts import (
    PACKED_INPUTS,
    TEXT_INPUTS,
    _MaskedEncoding,
    _MaskedHead,
    backbone_of,
    create_inputs,
)


@keras.saving.register_keras_serializable("keras_transformer")
class MaskedLanguageModel(keras.Model):
    """An encoder that predicts the tokens at given places, and computes nothing for others that it can do without.

    The last block, the head and the product with the token table are computed at the masked places only. The head is
    BERT's: dense, activation, norm, then the transposed token table and a bias of its own.

    Args:
        backbone: `TransformerEncoder`, or its `get_config()` dict.
        packed: Whether a row holds several texts that do not see each other. Default True.
        activation: Activation of the head, one of `ops.ACTIVATIONS`; None (default) for that of the encoder's
            feed-forward networks.
        name: Name of the model. Default "masked_language_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors: `token_ids`, `segment_ids`, `padding_mask` and, if `packed`, `position_ids` (0,
            1, ... within each text) and `example_ids` (1, 2, ... for the texts of a row, 0 for padding), of shape
            (batch, length); and `masked_positions` of shape (batch, count).

    Returns:
        Dict with `masked`, float32 of shape (batch, count, vocabulary_size): logits of the tokens there.

    Raises:
        ValueError: If the backbone is no encoder, or the activation unknown.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, MaskedLanguageModel, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = MaskedLanguageModel(TransformerEncoder(config), packed=False)
        ids = np.array([[2, 17, 4, 9, 3]], "int32")  # 4 hides a token
        inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
        logits = model(inputs | {"masked_positions": np.array([[2]], "int32")})["masked"]
        assert logits.shape == (1, 1, 100)
        ```
    """

    def __init__(
        self,
        backbone: TransformerEncoder | dict,
        packed: bool = True,
        activation: str | None = None,
        *,
        name: str = "masked_language_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerEncoder, backbone)

        # Layers
        self.backbone = backbone
        self.encoding = _MaskedEncoding(backbone, name="encoding")
        self.masked_head = _MaskedHead(backbone, activation, name="masked_head")

        # Graph
        inputs = create_inputs(*TEXT_INPUTS, *(PACKED_INPUTS if packed else ()), "masked_positions")
        outputs = {"masked": self.masked_head(self.encoding(inputs))}
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

        # Config
        self.packed = packed
        self.activation = activation

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "backbone": self.backbone.get_config(),
            "packed": self.packed,
            "activation": self.activation,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "MaskedLanguageModel":
        """Builds the model from `get_config`."""
        return cls(**config)
