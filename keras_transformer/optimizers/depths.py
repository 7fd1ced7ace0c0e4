"""Which layer of a Transformer a variable belongs to, for layer-wise learning rates."""

from typing import Any


def with_blocks(model: Any) -> Any:
    """Returns the part of a model that has the blocks: its `backbone`, the `encoder` of that, or the model itself.

    Args:
        model: `keras.Model`: an encoder or a decoder, or one that keeps it, such as `TextClassifier` as its `encoder`,
            and the models of pretraining as their `backbone`.
    """
    for name in ("backbone", "encoder"):
        model = getattr(model, name, model)
    return model


def variable_depths(model: Any) -> dict[str, int]:
    """Returns the depth of every trainable variable of a model, by its path.

    Args:
        model: Built `keras.Model` that has, or whose `encoder` or `backbone` has, a list `blocks` and a layer
            `embeddings`.

    Returns:
        Dict from variable path to depth: 0 for embeddings and positions, i + 1 for block i, and one more than the
        last block for whatever follows it (final norm, pooler, head).

    Raises:
        ValueError: For a model without blocks, or with two variables of one path.

    Example:
        ```python
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
        from keras_transformer.optimizers import variable_depths

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        depths = variable_depths(TextClassifier(TransformerEncoder(config), num_outputs=2))
        assert depths["embeddings/tokens/table"] == 0 and depths["head/kernel"] == 3
        ```
    """
    encoder = with_blocks(model)
    blocks = getattr(encoder, "blocks", None)
    if not blocks:
        raise ValueError(
            "Layer-wise learning rates need a model whose encoder has a list `blocks`. Use layer_decay=1. "
            f"Received: {type(model).__name__} named {getattr(model, 'name', None)!r}"
        )
    known = {id(v): i + 1 for i, block in enumerate(blocks) for v in block.variables}
    for part in ("embeddings", "positions"):
        if getattr(encoder, part, None) is not None:
            known |= {id(v): 0 for v in getattr(encoder, part).variables}
    depths = {}
    for variable in model.trainable_variables:
        if variable.path in depths:
            raise ValueError(f"Two variables have one path: give their layers names. Received: {variable.path!r}")
        depths[variable.path] = known.get(id(variable), len(blocks) + 1)
    return depths
