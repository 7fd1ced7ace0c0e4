"""Training less of a model: frozen lower layers, and low-rank adapters (LoRA, Hu et al., arXiv 2106.09685)."""

from typing import Any

import keras

from keras_transformer import layers
from keras_transformer.optimizers.depths import with_blocks


def freeze(model: keras.Model, num_blocks: int) -> None:
    """Leaves the embeddings, the positions and the lowest blocks of an encoder or a decoder as they are.

    Call it before `compile`. No gradient is computed below the first block that is trained.

    Args:
        model: Built `keras.Model` that has, or whose `encoder` or `backbone` has, a list `blocks`.
        num_blocks: Number of blocks, counted from the embeddings; 0 freezes the embeddings only.

    Raises:
        ValueError: For a model without blocks, or a number that it does not have.

    Example:
        ```python
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder, freeze

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        freeze(model, 1)
        assert {v.path.split("/")[0] for v in model.trainable_variables} == {"block_1", "head"}
        ```
    """
    encoder = _encoder(model)
    if isinstance(num_blocks, bool) or not isinstance(num_blocks, int) or not 0 <= num_blocks <= len(encoder.blocks):
        raise ValueError(
            f"num_blocks must be an integer from 0 to {len(encoder.blocks)}, the blocks of the model. "
            f"Received: {num_blocks!r}"
        )
    if set(map(id, encoder.blocks[:num_blocks])) & set(map(id, encoder.blocks[num_blocks:])):
        raise ValueError(
            f"The blocks of this model share their weights: freeze all {len(encoder.blocks)} or none. "
            f"Received: num_blocks={num_blocks}"
        )
    for part in (encoder.embeddings, encoder.positions, *encoder.blocks[:num_blocks]):
        if part is not None:
            part.trainable = False


def enable_lora(model: keras.Model, rank: int) -> list[str]:
    """Trains adapters of the attention instead of the encoder, by `enable_lora` of `keras.layers.Dense`.

    Each projection of queries, keys, values and output becomes `kernel + a @ b`, with `a` of shape (input, rank) and
    `b` of shape (rank, output), which begins at 0. Of the encoder only these are trained, and the pooler, if it has
    one; what lies above the encoder is trained in full. Blocks that are frozen get none. Call it before `compile`.
    A saved model holds the merged kernels and nothing of the adapters; `without_adapters` returns such a model.

    Args:
        model: Built `keras.Model` that has, or whose `encoder` or `backbone` has, a list `blocks`.
        rank: Width of the adapters, at least 1 and below the width of the encoder.

    Returns:
        Paths of the kernels that got an adapter.

    Raises:
        ValueError: For a model without blocks, a rank out of its range, or a second call.

    Example:
        ```python
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder, enable_lora

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        assert len(enable_lora(model, rank=4)) == 2 * 4
        assert sum(v.shape.num_elements() for v in model.trainable_variables) == 2 * 4 * 2 * 32 * 4 + 32 * 2 + 2
        ```
    """
    encoder = _encoder(model)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank < encoder.config.hidden_dim:
        raise ValueError(
            f"rank must be an integer from 1 to {encoder.config.hidden_dim - 1}, below the width of the encoder. "
            f"Received: {rank!r}"
        )
    if any(getattr(layer, "lora_enabled", False) for layer in encoder._flatten_layers()):
        raise ValueError(f"The model has adapters already: call enable_lora once. Received: model={model.name!r}")
    blocks = dict.fromkeys(block for block in encoder.blocks if block.trainable)  # some models share one
    adapted = [layer for block in blocks for layer in _projections(block.attention)]
    for part in (encoder.embeddings, encoder.positions, encoder.final_norm, *encoder.blocks):
        for variable in () if part is None else part.trainable_variables:
            variable.trainable = False
    for layer in adapted:
        layer.enable_lora(rank)
    return [layer._kernel.path for layer in adapted]


def without_adapters(model: keras.Model) -> keras.Model:
    """Returns a new model of the same class and weights, with adapters merged into the kernels and nothing frozen.

    Args:
        model: Built `keras.Model` of this package.

    Returns:
        A model of its own, which takes part in no `tf.distribute` strategy but the one in scope.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
        from keras_transformer.models import enable_lora, without_adapters

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=1,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        count = model.count_params()
        enable_lora(model, rank=4)
        assert model.count_params() > count == without_adapters(model).count_params()
        ```
    """
    plain = type(model).from_config(model.get_config())
    adapted = [layer for layer in model._flatten_layers() if getattr(layer, "lora_enabled", False)]
    adapters = {id(weight) for layer in adapted for weight in (layer.lora_kernel_a, layer.lora_kernel_b)}
    merged = {id(layer._kernel): layer for layer in adapted}
    given = [weight for weight in model.weights if id(weight) not in adapters]
    for weight, value in zip(plain.weights, given, strict=True):
        layer = merged.get(id(value))
        weight.assign(value.numpy() if layer is None else keras.ops.convert_to_numpy(layer.kernel))
    return plain


def _encoder(model: keras.Model) -> Any:
    encoder = with_blocks(model)
    if not getattr(encoder, "blocks", None):
        raise ValueError(
            "There must be an encoder with a list `blocks`. "
            f"Received: {type(model).__name__} named {getattr(model, 'name', None)!r}"
        )
    return encoder


def _projections(attention: layers.MultiHeadAttention) -> list[layers.Dense]:
    return [attention.query, attention.key, attention.value, attention.output_projection]
