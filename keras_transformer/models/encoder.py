"""Bidirectional Transformer encoder (BERT, arXiv 1810.04805, and its relatives)."""

from typing import Any

import keras

from keras_transformer import layers
from keras_transformer.models import parts
from keras_transformer.models.config import EncoderConfig


@keras.saving.register_keras_serializable("keras_transformer")
class TransformerEncoder(keras.Model):
    """Turns token ids into hidden states.

    Args:
        config: `EncoderConfig` or its dict.
        dtype: Dtype or dtype policy of every layer; None means the global one.
        name: Name of the model. Default "encoder".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors of shape (batch, length): `token_ids`, `segment_ids` (0 for single texts), and
            `padding_mask` (1 = a real token).

    Returns:
        Dict with `sequence_output`, float of shape (batch, length, hidden_dim), and, if `config.pooler`,
        `pooled_output` of shape (batch, hidden_dim).

    Raises:
        ValueError: For a config that cannot be built.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        ids = np.array([[2, 17, 3, 0]], "int32")
        inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype("int32")}
        assert TransformerEncoder(config)(inputs)["sequence_output"].shape == (1, 4, 32)
        ```
    """

    def __init__(
        self, config: EncoderConfig | dict, *, dtype: Any = None, name: str = "encoder", trainable: bool = True
    ):
        config = EncoderConfig.from_dict(config)

        # Layers
        policy = {"dtype": dtype}
        self.embeddings = self._create_embeddings(config, **policy)
        self.positions = parts.create_positions(config, bidirectional=True, **policy)
        self.mask = layers.AttentionMask(window=config.window, fill_value=config.mask_fill, name="mask", **policy)
        self.blocks = parts.create_blocks(config, layers.EncoderBlock, **policy)
        self.final_norm = parts.create_final_norm(config, **policy)
        self.pooler = (
            layers.Dense(config.hidden_dim, "tanh", initializer_range=config.initializer_range, name="pooler", **policy)
            if config.pooler
            else None
        )

        # Graph
        inputs = {
            key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids", "padding_mask")
        }
        embeddings = self.embed(inputs["token_ids"], inputs["segment_ids"])
        sequence = self.encode(embeddings, inputs["padding_mask"])
        outputs = {"sequence_output": sequence}
        if self.pooler is not None:
            outputs["pooled_output"] = self.pooler(sequence[:, 0])
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

        # Config
        self.config = config

    def _create_embeddings(self, config: EncoderConfig, **policy: Any) -> layers.TransformerEmbedding:
        return parts.create_embeddings(config, config.num_segments, **policy)

    def embed(self, token_ids, segment_ids=None, position_ids=None, training: bool | None = None):
        """Returns the embeddings that enter the first block, float of shape (batch, length, hidden_dim)."""
        positions = parts.position_embedding(self.positions, token_ids, position_ids)
        if not self.embeddings.num_segments:
            segment_ids = None
        return self.embeddings(token_ids, segment_ids, positions, training=training)

    def encode(self, embeddings, padding_mask, training: bool | None = None, **options):
        """Returns the hidden states of the last block for embeddings from `embed`; see `hidden_states`."""
        return self.hidden_states(embeddings, padding_mask, training=training, **options)[-1]

    def hidden_states(
        self,
        embeddings,
        padding_mask,
        training: bool | None = None,
        *,
        position_ids=None,
        example_ids=None,
        places=None,
    ) -> list:
        """Returns the embeddings and the output of every block; a final norm, if any, is applied to the last.

        Args:
            embeddings: Float tensor of shape (batch, length, hidden_dim), from `embed`.
            padding_mask: Integer tensor of shape (batch, length); 1 = a real token.
            training: Whether dropout is active.
            position_ids: Integer tensor of shape (batch, length): the position of each token in its text, as for
                `embed`; None means in order.
            example_ids: Integer tensor of shape (batch, length): the text of each token, where several share a row, 0
                for padding; texts do not see each other. None means one text a row.
            places: The tokens for which the last block is computed, a `slice` or integers of shape (batch, count); its
                output has those only. None means all.

        Returns:
            List of `num_layers + 1` float tensors of shape (batch, length, hidden_dim).
        """
        mask = self.mask(padding_mask, example_ids)
        tensors = parts.attention_tensors(self.positions, mask, embeddings, position_ids)
        states = [embeddings]
        for number, block in enumerate(self.blocks, start=1):
            if places is not None and number == len(self.blocks):
                tensors = parts.query_tensors(states[-1], tensors, places)
            states.append(block(states[-1], **tensors, training=training))
        if self.final_norm is not None:
            states[-1] = self.final_norm(states[-1])
        return states

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        policy = parts.serialized_policy(self.embeddings)
        return {"config": self.config.to_dict(), "name": self.name, "dtype": policy, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "TransformerEncoder":
        """Builds the encoder from `get_config`."""
        return cls(**config | {"dtype": parts.deserialized_policy(config.get("dtype"))})
