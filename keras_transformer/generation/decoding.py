"""What a loop needs of a model, the same for decoders and encoder-decoders: a prefill, a step, and rows that move."""

from typing import Any

import keras
from keras import ops

from keras_transformer.models import TransformerDecoder, TransformerEncoderDecoder


class Decoding:
    """Cached decoding with a model.

    Prompts end at a common place, with padding before them, so that one scalar is the place of every row's next token.

    Args:
        model: `TransformerDecoder` without cross-attention, or `TransformerEncoderDecoder`.

    Raises:
        ValueError: For another model.
    """

    def __init__(self, model: Any):
        self.has_encoder = isinstance(model, TransformerEncoderDecoder)
        if not self.has_encoder and not isinstance(model, TransformerDecoder):
            raise ValueError(
                "Only a TransformerDecoder or a TransformerEncoderDecoder makes tokens. "
                f"Received: a {type(model).__name__}, which has no decoder"
            )
        if not self.has_encoder and model.config.cross_attention:
            raise ValueError(
                f"The decoder {model.name!r} attends to an encoder: pass the TransformerEncoderDecoder of both, "
                "or build it with cross_attention=False. Received: cross_attention=True"
            )
        self.model = model
        self.decoder = model.decoder if self.has_encoder else model
        self.vocabulary_size = self.decoder.config.vocabulary_size
        encoder = model.encoder.config if self.has_encoder else None
        self.encoder_vocabulary_size = encoder.vocabulary_size if encoder else None
        self.encoder_positions = _positions(encoder) if encoder else None
        self.positions = _positions(self.decoder.config)

    def first_tokens(self, inputs: dict, start_token_id: int | None) -> tuple:
        """Returns the tokens with which the decoder begins.

        Args:
            inputs: Int32 tensors `token_ids` and `padding_mask` of shape (batch, length), padding first; or
                `encoder_token_ids` and `encoder_padding_mask` of shape (batch, encoder_length).
            start_token_id: First token behind an encoder.

        Returns:
            Pair of token ids and padding mask, int32 of shape (batch, length); behind an encoder the length is 1.
        """
        if not self.has_encoder:
            return inputs["token_ids"], inputs["padding_mask"]
        ones = ops.ones((ops.shape(inputs["encoder_token_ids"])[0], 1), "int32")
        return ones * start_token_id, ones

    def prefill(self, inputs: dict, token_ids, padding_mask, extra: int) -> tuple:
        """Reads the prompts in one pass.

        Args:
            inputs: As for `first_tokens`.
            token_ids: From `first_tokens`.
            padding_mask: From `first_tokens`.
            extra: Number of tokens that later steps will read.

        Returns:
            Pair of the logits of the first new token, float32 of shape (batch, vocabulary_size), and the memory that
            `step` needs: nested dicts and lists of tensors.
        """
        batch, length = ops.shape(token_ids)[0], ops.shape(token_ids)[1]
        padding = length - ops.sum(padding_mask, axis=1, keepdims=True)
        places = ops.expand_dims(ops.arange(length + extra, dtype="int32"), 0)
        # Places of the padding are masked; 0 keeps them inside a table.
        position_ids = ops.maximum(places - ops.cast(padding, "int32"), 0)
        memory = {"position_ids": position_ids}
        encoder_output = None
        if self.has_encoder:
            memory["encoder_padding_mask"] = inputs["encoder_padding_mask"]
            encoder_output = self.model.encode(inputs["encoder_token_ids"], inputs["encoder_padding_mask"])
        # A cache of the prompt's own length: attention over places that are still empty would cost as much again.
        states, cache = self.decoder.decode(
            token_ids,
            self.decoder.empty_cache(batch, length, encoder_output),
            0,
            padding_mask,
            position_ids[:, :length],
            memory.get("encoder_padding_mask"),
        )
        memory["cache"] = _map_self(lambda t: ops.pad(t, ((0, 0), (0, 0), (0, extra), (0, 0))), cache)
        memory["padding_mask"] = ops.pad(padding_mask, ((0, 0), (0, extra)), constant_values=1)
        return self.decoder.logits(states[:, -1]), memory

    def step(self, token_ids, memory: dict, index) -> tuple:
        """Reads one more token of each row.

        Args:
            token_ids: Int32 tensor of shape (rows,).
            memory: From `prefill` or the last `step`.
            index: Place of these tokens, an int32 scalar.

        Returns:
            Pair of the logits of the next token, float32 of shape (rows, vocabulary_size), and the new memory.
        """
        states, cache = self.decoder.decode(
            ops.expand_dims(token_ids, 1),
            memory["cache"],
            index,
            memory["padding_mask"],
            memory["position_ids"],
            memory.get("encoder_padding_mask"),
        )
        return self.decoder.logits(states[:, 0]), memory | {"cache": cache}

    @staticmethod
    def repeat(memory: dict, times: int) -> dict:
        """Returns a memory with every row `times` times, one behind the other."""
        return keras.tree.map_structure(lambda tensor: ops.repeat(tensor, times, axis=0), memory)

    @staticmethod
    def reorder(memory: dict, rows) -> dict:
        """Returns a memory in which row i continues what was row `rows[i]`, of the same prompt."""
        return memory | {"cache": _map_self(lambda tensor: ops.take(tensor, rows, axis=0), memory["cache"])}


def _map_self(function, cache: list) -> list:
    """Applies a function to the keys and values of the decoder's own tokens; those of an encoder stay."""
    return [block | {"self": {name: function(tensor) for name, tensor in block["self"].items()}} for block in cache]


def _positions(config) -> int | None:
    """Returns the number of positions of a table, or None where there is no table."""
    return config.max_length if config.position.scheme in ("learned", "sincos") else None
