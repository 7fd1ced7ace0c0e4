"""What the models build alike: embeddings, positions, blocks, and the tensors that every block receives."""

from typing import Any

import keras

from keras_transformer import layers, ops
from keras_transformer.models.config import TransformerConfig


def create_embeddings(config: TransformerConfig, num_segments: int = 0, **policy: Any) -> layers.TransformerEmbedding:
    """Returns the embeddings of a model."""
    return layers.TransformerEmbedding(
        config.vocabulary_size,
        config.hidden_dim,
        num_segments,
        norm=config.norm if config.normalises_embeddings else None,
        dropout=config.dropout,
        embedding_dim=config.embedding_dim,
        scaled=config.scale_embeddings,
        initializer_range=config.initializer_range,
        name="embeddings",
        **policy,
    )


def create_positions(config: TransformerConfig, bidirectional: bool, **policy: Any) -> keras.layers.Layer | None:
    """Returns the position scheme of a model, or None for none."""
    position = config.position
    head_width = config.attention.head_width(config.hidden_dim)
    width = config.embedding_dim or config.hidden_dim
    options = {"name": "positions"} | policy
    trained = options | {"initializer_range": config.initializer_range}
    schemes = {
        "learned": lambda: layers.LearnedPositions(config.max_length, width, **trained),
        "sincos": lambda: layers.SinCosPositions(config.max_length, width, **options),
        "rotary": lambda: layers.RotaryPositions(
            position.rotary_dim or head_width, position.theta, position.scaling, position.factor, **options
        ),
        "relative_bias": lambda: layers.RelativeBias(
            config.attention.num_heads, bidirectional, position.num_buckets, position.max_distance, **trained
        ),
        "alibi": lambda: layers.ALiBi(config.attention.num_heads, **options),
        "relative_keys": lambda: layers.RelativeKeys(head_width, position.max_distance, **trained),
        "none": lambda: None,
    }
    return schemes[position.scheme]()


def create_blocks(config: TransformerConfig, block: type, **options: Any) -> list:
    """Returns the blocks of a model, or its one block over and over; stochastic depth grows from 0 to its rate."""
    last = max(config.num_layers - 1, 1)
    blocks = [
        block(
            config.hidden_dim,
            config.attention,
            config.feed_forward,
            config.norm,
            residual=config.residual,
            dropout=config.dropout,
            stochastic_depth=config.stochastic_depth * i / last,
            initializer_range=config.initializer_range,
            recompute=config.recompute,
            name=f"block_{i}",
            **options,
        )
        for i in range(1 if config.share_blocks else config.num_layers)
    ]
    return blocks * config.num_layers if config.share_blocks else blocks


def create_final_norm(config: TransformerConfig, **policy: Any) -> keras.layers.Layer | None:
    """Returns the norm of the last hidden states, or None for none."""
    return layers.create_norm(config.norm, name="final_norm", **policy) if config.normalises_output else None


def position_embedding(scheme, token_ids, position_ids=None):
    """Returns what a scheme adds to the token embeddings, or None."""
    return scheme(token_ids, position_ids) if scheme is not None and scheme.role == "embedding" else None


def attention_tensors(scheme, mask, tokens, position_ids=None, key_positions=None) -> dict:
    """Returns what every block's attention receives, computed once for all of them.

    Args:
        scheme: Position scheme or None.
        mask: Pair from `AttentionMask`.
        tokens: Tensor of shape (batch, length, ...), of which only the shape is read.
        position_ids: Integer tensor of shape (1 or batch, length), or None for 0 .. length - 1.
        key_positions: Integer tensor of shape (1 or batch, key_length), or None for those of the tokens.

    Returns:
        Dict of `attention_bias`, `row_valid`, and, depending on the scheme, `rotation` or `relative_keys`.
    """
    bias, row_valid = mask
    tensors = {"attention_bias": bias, "row_valid": row_valid}
    if scheme is not None and scheme.role != "embedding":
        tensor = scheme(tokens, position_ids, key_positions)
        # Scores are float32, so their bias is.
        tensors[scheme.role] = tensor + keras.ops.cast(bias, "float32") if scheme.role == "attention_bias" else tensor
    return tensors


def query_tensors(x, tensors: dict, places) -> dict:
    """Returns what an encoder's block receives in order to compute some of the tokens only.

    Args:
        x: Float tensor of shape (batch, length, hidden_dim).
        tensors: Dict from `attention_tensors`.
        places: Which tokens, see `ops.take_tokens`.

    Returns:
        Dict with what concerns the queries cut down to those tokens, and `query`.
    """

    def cut(tensor, axis: int):
        # One number for all queries stays one.
        return tensor if tensor is None or tensor.shape[axis] == 1 else ops.take_tokens(tensor, places, axis)

    result = tensors | {name: cut(tensors[name], 2) for name in ("attention_bias", "row_valid")}
    if "rotation" in tensors:
        result["query_rotation"] = ops.take_tokens(tensors["rotation"], places, 2)
    if "relative_keys" in tensors:
        table, index = tensors["relative_keys"]
        result["relative_keys"] = (table, ops.take_tokens(index, places))
    return result | {"query": ops.take_tokens(x, places)}


def serialized_policy(layer: keras.layers.Layer) -> dict:
    """Returns the dtype policy of a layer, for a config."""
    return keras.dtype_policies.serialize(layer.dtype_policy)


def deserialized_policy(value: Any) -> Any:
    """Returns a dtype policy from its serialised form; None and names pass through."""
    return keras.dtype_policies.deserialize(value) if isinstance(value, dict) else value
