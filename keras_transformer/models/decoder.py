"""Causal Transformer decoder: GPT-2, Llama and their relatives, alone or behind an encoder."""

from typing import Any

import keras

from keras_transformer import layers
from keras_transformer.models import parts
from keras_transformer.models.config import DecoderConfig


@keras.saving.register_keras_serializable("keras_transformer")
class TransformerDecoder(keras.Model):
    """Turns token ids into hidden states and the logits of the next token.

    Args:
        config: `DecoderConfig` or its dict.
        dtype: Dtype or dtype policy of every layer; None means the global one.
        name: Name of the model. Default "decoder".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors `token_ids` and `padding_mask` (1 = a real token) of shape (batch, length); with
            `config.cross_attention` also `encoder_output`, float of shape (batch, encoder_length, hidden_dim), and
            `encoder_padding_mask`, int32 of shape (batch, encoder_length).

    Returns:
        Dict with `sequence_output`, float of shape (batch, length, hidden_dim), and `logits`, float32 of shape
        (batch, length, vocabulary_size): those of the token after each.

    Raises:
        ValueError: For a config that cannot be built.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder

        config = DecoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2, position="rotary", residual="pre_norm",
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        ids = np.array([[2, 17, 3, 0]], "int32")
        outputs = TransformerDecoder(config)({"token_ids": ids, "padding_mask": (ids > 0).astype("int32")})
        assert outputs["logits"].shape == (1, 4, 100)
        ```
    """

    def __init__(
        self,
        config: DecoderConfig | dict,
        *,
        dtype: Any = None,
        name: str = "decoder",
        trainable: bool = True,
    ):
        config = DecoderConfig.from_dict(config)

        # Layers
        policy = {"dtype": dtype}
        self.embeddings = self._create_embeddings(config, **policy)
        self.positions = parts.create_positions(config, bidirectional=False, **policy)
        self.mask = layers.AttentionMask(True, config.window, config.mask_fill, name="mask", **policy)
        self.encoder_mask = (
            layers.AttentionMask(fill_value=config.mask_fill, name="encoder_mask", **policy)
            if config.cross_attention
            else None
        )
        self.blocks = parts.create_blocks(config, layers.DecoderBlock, cross_attention=config.cross_attention, **policy)
        self.final_norm = parts.create_final_norm(config, **policy)
        self.head = (
            None
            if config.tie_embeddings
            else layers.Dense(
                config.vocabulary_size,
                use_bias=False,
                initializer_range=config.initializer_range,
                name="head",
                dtype="float32",
            )
        )
        self._logits_scale = config.hidden_dim**-0.5 if config.scale_logits else None

        # Graph
        inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
        encoder = {}
        if config.cross_attention:
            inputs["encoder_output"] = keras.Input((None, config.hidden_dim), name="encoder_output")
            inputs["encoder_padding_mask"] = keras.Input((None,), dtype="int32", name="encoder_padding_mask")
            encoder = {key: inputs[key] for key in ("encoder_output", "encoder_padding_mask")}
        embeddings = self.embed(inputs["token_ids"])
        sequence = self.hidden_states(embeddings, inputs["padding_mask"], **encoder)[-1]
        outputs = {"sequence_output": sequence, "logits": self.logits(sequence)}
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)

        # Config
        self.config = config

    def _create_embeddings(self, config: DecoderConfig, **policy: Any) -> layers.TransformerEmbedding:
        return parts.create_embeddings(config, **policy)

    def embed(self, token_ids, position_ids=None, training: bool | None = None):
        """Returns the embeddings that enter the first block, float of shape (batch, length, hidden_dim)."""
        positions = parts.position_embedding(self.positions, token_ids, position_ids)
        return self.embeddings(token_ids, None, positions, training=training)

    def hidden_states(
        self,
        embeddings,
        padding_mask,
        encoder_output=None,
        encoder_padding_mask=None,
        training: bool | None = None,
        *,
        position_ids=None,
        example_ids=None,
        prefix_mask=None,
    ) -> list:
        """Returns the embeddings and the output of every block; a final norm, if any, is applied to the last.

        Args:
            embeddings: Float tensor of shape (batch, length, hidden_dim), from `embed`.
            padding_mask: Integer tensor of shape (batch, length); 1 = a real token.
            encoder_output: Float tensor of shape (batch, encoder_length, hidden_dim), for cross-attention.
            encoder_padding_mask: Integer tensor of shape (batch, encoder_length), for cross-attention.
            training: Whether dropout is active.
            position_ids: Integer tensor of shape (batch, length): the position of each token in its text, as for
                `embed`; None means in order.
            example_ids: Integer tensor of shape (batch, length): the text of each token, where several share a row, 0
                for padding; texts do not see each other. None means one text a row.
            prefix_mask: Integer tensor of shape (batch, length): 1 for tokens that the others of their text see, the
                earlier ones too. None means none.

        Returns:
            List of `num_layers + 1` float tensors of shape (batch, length, hidden_dim).
        """
        mask = self.mask(padding_mask, example_ids, prefix_mask)
        tensors = parts.attention_tensors(self.positions, mask, embeddings, position_ids)
        tensors |= self._encoder_tensors(encoder_padding_mask)
        states = [embeddings]
        for block in self.blocks:
            states.append(block(states[-1], **tensors, encoder_output=encoder_output, training=training))
        if self.final_norm is not None:
            states[-1] = self.final_norm(states[-1])
        return states

    def logits(self, sequence_output):
        """Returns the logits of the next token, float32 of shape (..., vocabulary_size), for hidden states."""
        if self._logits_scale is not None:
            sequence_output = sequence_output * self._logits_scale
        if self.head is None:
            return self.embeddings.tokens(sequence_output, reverse=True)
        return self.head(sequence_output)

    def empty_cache(self, batch, length: int, encoder_output=None) -> list:
        """Returns a cache without tokens for `decode`, a dict for each block.

        Args:
            batch: Number of rows, an int or an integer scalar tensor.
            length: Number of tokens that it can hold.
            encoder_output: Float tensor of shape (batch, encoder_length, hidden_dim), for cross-attention.
        """
        return [block.empty_cache(batch, length, encoder_output) for block in self.blocks]

    def decode(self, token_ids, cache, index, padding_mask, position_ids=None, encoder_padding_mask=None):
        """Runs the next tokens through the blocks; earlier ones come from the cache.

        Args:
            token_ids: Integer tensor of shape (batch, length): the next tokens.
            cache: From `empty_cache` or an earlier `decode`.
            index: Place of the first of them in the cache, an integer scalar.
            padding_mask: Integer tensor of shape (batch, cache_length): 1 for all places that hold, or will hold, a
                real token. What lies after a token is masked anyway.
            position_ids: Integer tensor of shape (batch, cache_length): that of every place; None means in order.
            encoder_padding_mask: Integer tensor of shape (batch, encoder_length), for cross-attention.

        Returns:
            Pair of the last hidden states, float of shape (batch, length, hidden_dim), and the new cache.
        """
        ops = keras.ops
        length = ops.shape(token_ids)[1]
        if position_ids is None:
            position_ids = ops.expand_dims(ops.arange(padding_mask.shape[1], dtype="int32"), 0)
        here = ops.slice(position_ids, (0, index), (ops.shape(position_ids)[0], length))
        x = self.embed(token_ids, here)
        mask = self.mask(padding_mask, query_length=length, offset=index)
        tensors = parts.attention_tensors(self.positions, mask, x, here, position_ids)
        tensors |= self._encoder_tensors(encoder_padding_mask)
        new_cache = []
        for block, before in zip(self.blocks, cache, strict=True):
            x, after = block(x, **tensors, cache=before, cache_index=index)
            new_cache.append(after)
        return (x if self.final_norm is None else self.final_norm(x)), new_cache

    def _encoder_tensors(self, encoder_padding_mask) -> dict:
        if self.encoder_mask is None or encoder_padding_mask is None:
            return {}
        bias, row_valid = self.encoder_mask(encoder_padding_mask)
        return {"encoder_bias": bias, "encoder_row_valid": row_valid}

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        policy = parts.serialized_policy(self.blocks[0])
        return {"config": self.config.to_dict(), "name": self.name, "dtype": policy, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "TransformerDecoder":
        """Builds the decoder from `get_config`."""
        return cls(**config | {"dtype": parts.deserialized_policy(config.get("dtype"))})
