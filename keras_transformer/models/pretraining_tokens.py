"""The next token, causally or behind a prefix: GPT, and the prefix LM of T5's authors (arXiv 1910.10683)."""

import keras

from keras_transformer.models.decoder import TransformerDecoder
from keras_transformer.models.encoder_decoder import TransformerEncoderDecoder
from keras_transformer.models.pretraining_parts import PACKED_INPUTS, backbone_of, create_inputs


@keras.saving.register_keras_serializable("keras_transformer")
class NextTokenModel(keras.Model):
    """A decoder that predicts the token after each, in rows of several texts or behind a prefix.

    Args:
        backbone: `TransformerDecoder` without cross-attention, or its `get_config()` dict.
        packed: Whether a row holds several texts that do not see each other. Default True.
        prefix: Whether each row has a prefix whose tokens see each other, the later ones too. Default False.
        name: Name of the model. Default "next_token_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors of shape (batch, length): `token_ids`, `padding_mask`; if `packed`,
            `position_ids` (0, 1, ... within each text) and `example_ids` (1, 2, ... for the texts of a row, 0 for
            padding); with `prefix`, `prefix_mask` (1 for the tokens of the prefix).

    Returns:
        Dict with `next_token`, float32 of shape (batch, length, vocabulary_size): logits of the token after each.

    Raises:
        ValueError: If the backbone is no decoder, or attends to an encoder.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, NextTokenModel, TransformerDecoder

        config = DecoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2, residual="pre_norm",
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = NextTokenModel(TransformerDecoder(config))
        rows = {
            "token_ids": np.array([[17, 8, 3, 21, 3]], "int32"), "padding_mask": np.ones((1, 5), "int32"),
            "position_ids": np.array([[0, 1, 2, 0, 1]], "int32"), "example_ids": np.array([[1, 1, 1, 2, 2]], "int32"),
        }
        assert model(rows)["next_token"].shape == (1, 5, 100)
        ```
    """

    def __init__(
        self,
        backbone: TransformerDecoder | dict,
        packed: bool = True,
        prefix: bool = False,
        *,
        name: str = "next_token_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerDecoder, backbone)
        if backbone.config.cross_attention:
            raise ValueError(
                "A model for the next token has no encoder: use a decoder without cross-attention. "
                "Received: cross_attention=True"
            )

        # Layers
        self.backbone = backbone

        # Graph
        optional = (PACKED_INPUTS if packed else ()) + (("prefix_mask",) if prefix else ())
        inputs = create_inputs("token_ids", "padding_mask", *optional)
        embeddings = backbone.embed(inputs["token_ids"], inputs.get("position_ids"))
        given = {key: inputs[key] for key in optional}
        sequence = backbone.hidden_states(embeddings, inputs["padding_mask"], **given)[-1]
        super().__init__(
            inputs=inputs, outputs={"next_token": backbone.logits(sequence)}, name=name, trainable=trainable
        )

        # Config
        self.packed = packed
        self.prefix = prefix

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "backbone": self.backbone.get_config(),
            "packed": self.packed,
            "prefix": self.prefix,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "NextTokenModel":
        """Builds the model from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_transformer")
class SequenceToSequenceModel(keras.Model):
    """An encoder-decoder that predicts the token after each token of its second text: T5, BART.

    Args:
        backbone: `TransformerEncoderDecoder`, or its `get_config()` dict.
        name: Name of the model. Default "sequence_to_sequence_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: The dict that the backbone takes.

    Returns:
        Dict with `next_token`, float32 of shape (batch, decoder_length, vocabulary_size): logits of the token after
        each of the decoder's.

    Raises:
        ValueError: If the backbone is no encoder-decoder.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, EncoderConfig, EncoderDecoderConfig
        from keras_transformer.models import SequenceToSequenceModel, TransformerEncoderDecoder

        sizes = dict(
            vocabulary_size=100, hidden_dim=32, num_layers=1, position="sincos",
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        config = EncoderDecoderConfig(
            EncoderConfig(num_segments=0, **sizes), DecoderConfig(cross_attention=True, **sizes)
        )
        model = SequenceToSequenceModel(TransformerEncoderDecoder(config))
        source, target = np.ones((2, 7), "int32"), np.ones((2, 5), "int32")
        inputs = {
            "encoder_token_ids": source, "encoder_padding_mask": source,
            "decoder_token_ids": target, "decoder_padding_mask": target,
        }
        assert model(inputs)["next_token"].shape == (2, 5, 100)
        ```
    """

    def __init__(
        self,
        backbone: TransformerEncoderDecoder | dict,
        *,
        name: str = "sequence_to_sequence_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerEncoderDecoder, backbone)

        # Layers
        self.backbone = backbone

        # Graph
        inputs = create_inputs(*(tensor.name for tensor in backbone.inputs))
        outputs = {"next_token": backbone(inputs)["logits"]}
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {"backbone": self.backbone.get_config(), "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "SequenceToSequenceModel":
        """Builds the model from `get_config`."""
        return cls(**config)
