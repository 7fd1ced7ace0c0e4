"""Encoder-decoder Transformer: the 2017 model (arXiv 1706.03762), T5 (1910.10683), BART (1910.13461)."""

from typing import Any

import keras

from keras_transformer import layers
from keras_transformer.models import parts
from keras_transformer.models.config import DecoderConfig, EncoderDecoderConfig
from keras_transformer.models.decoder import TransformerDecoder
from keras_transformer.models.encoder import TransformerEncoder


@keras.saving.register_keras_serializable("keras_transformer")
class TransformerEncoderDecoder(keras.Model):
    """Reads one sequence and predicts another, token by token.

    Args:
        config: `EncoderDecoderConfig` or its dict.
        dtype: Dtype or dtype policy of every layer; None means the global one.
        name: Name of the model. Default "encoder_decoder".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors: `encoder_token_ids` and `encoder_padding_mask` of shape (batch, encoder_length),
            `decoder_token_ids` and `decoder_padding_mask` of shape (batch, decoder_length); 1 = a real token.

    Returns:
        Dict with `encoder_output`, float of shape (batch, encoder_length, hidden_dim), `sequence_output`, float of
        shape (batch, decoder_length, hidden_dim), and `logits`, float32 of shape
        (batch, decoder_length, vocabulary_size): those of the token after each.

    Raises:
        ValueError: For a config that cannot be built.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, EncoderConfig, EncoderDecoderConfig
        from keras_transformer.models import TransformerEncoderDecoder

        sizes = dict(
            vocabulary_size=100, hidden_dim=32, num_layers=2, position="sincos",
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TransformerEncoderDecoder(
            EncoderDecoderConfig(
                EncoderConfig(num_segments=0, **sizes), DecoderConfig(cross_attention=True, **sizes)
            )
        )
        source, target = np.ones((2, 7), "int32"), np.ones((2, 5), "int32")
        outputs = model(
            {
                "encoder_token_ids": source, "encoder_padding_mask": source,
                "decoder_token_ids": target, "decoder_padding_mask": target,
            }
        )
        assert outputs["logits"].shape == (2, 5, 100)
        ```
    """

    def __init__(
        self,
        config: EncoderDecoderConfig | dict,
        *,
        dtype: Any = None,
        name: str = "encoder_decoder",
        trainable: bool = True,
    ):
        config = EncoderDecoderConfig.from_dict(config)

        # Layers
        # The scopes give every variable a path of its own.
        with keras.name_scope("encoder"):
            self.encoder = TransformerEncoder(config.encoder, dtype=dtype, name="encoder")
        with keras.name_scope("decoder"):
            if config.share_embeddings:
                self.decoder = _SharingDecoder(self.encoder, config.decoder, dtype=dtype, name="decoder")
            else:
                self.decoder = TransformerDecoder(config.decoder, dtype=dtype, name="decoder")

        # Graph
        inputs = {
            f"{side}_{key}": keras.Input((None,), dtype="int32", name=f"{side}_{key}")
            for side in ("encoder", "decoder")
            for key in ("token_ids", "padding_mask")
        }
        encoder_output = self.encode(inputs["encoder_token_ids"], inputs["encoder_padding_mask"])
        outputs = self.decoder(
            {
                "token_ids": inputs["decoder_token_ids"],
                "padding_mask": inputs["decoder_padding_mask"],
                "encoder_output": encoder_output,
                "encoder_padding_mask": inputs["encoder_padding_mask"],
            }
        )
        super().__init__(
            inputs=inputs, outputs={"encoder_output": encoder_output, **outputs}, name=name, trainable=trainable
        )

        # Config
        self.config = config

    def encode(self, token_ids, padding_mask, training: bool | None = None):
        """Returns the encoder's hidden states, float of shape (batch, encoder_length, hidden_dim)."""
        return self.encoder.encode(self.encoder.embed(token_ids, training=training), padding_mask, training=training)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        policy = parts.serialized_policy(self.encoder.blocks[0])
        return {"config": self.config.to_dict(), "name": self.name, "dtype": policy, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "TransformerEncoderDecoder":
        """Builds the model from `get_config`."""
        return cls(**config | {"dtype": parts.deserialized_policy(config.get("dtype"))})


class _SharingDecoder(TransformerDecoder):
    """A decoder that reads the token table of an encoder; saved and loaded with the model that holds both."""

    def __init__(self, encoder: TransformerEncoder, *args, **kwargs):
        self._shared_tokens = encoder.embeddings.tokens
        super().__init__(*args, **kwargs)

    def _create_embeddings(self, config: DecoderConfig, **policy: Any) -> layers.TransformerEmbedding:
        embeddings = super()._create_embeddings(config, **policy)
        embeddings.tokens = self._shared_tokens
        return embeddings
