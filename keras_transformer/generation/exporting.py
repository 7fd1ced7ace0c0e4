"""A generating function that can be saved with a model, tokens in and tokens out."""

from collections.abc import Callable
from typing import Any

import keras

from keras_transformer import ops
from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.generating import whole_loop
from keras_transformer.generation.prompts import check_config, check_length


def export_function(
    model: Any, config: GenerationConfig | None = None, *, prompt_length: int | None = None, **options: Any
) -> Callable:
    """Returns `generate` as a TensorFlow function with a signature, for `tf.saved_model.save`.

    Its arguments are int32: `token_ids` and `padding_mask` of shape (batch, length), with padding anywhere, or
    `encoder_token_ids` and `encoder_padding_mask`; and with `Sample` the scalar `seed`, so that a server can draw anew
    for every request (the sampler's own seed plays no part). It returns a dict of `token_ids`, `lengths` and `scores`
    as in `GeneratedTokens`. Nothing checks the prompts it receives: a token outside the vocabulary, or a position
    beyond a table, fails inside the graph.

    Args:
        model: `TransformerDecoder` or `TransformerEncoderDecoder`; whoever saves the function must keep it in the same
            `tf.Module`, so that its weights are saved too.
        config: As for `generate`.
        prompt_length: Length of all prompts, with padding; None for any.
        **options: As for `generate`.

    Returns:
        `tf.function`.

    Raises:
        ValueError: As `generate`; also for another backend than TensorFlow, or a prompt length without positions.

    Example:
        ```python
        import numpy as np
        import tensorflow as tf
        from keras_transformer.generation import export_function
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder

        module = tf.Module()
        module.model = TransformerDecoder(
            DecoderConfig(
                vocabulary_size=50, hidden_dim=16, num_layers=2,
                attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=32),
            )
        )
        module.generate = export_function(module.model, max_new_tokens=4)
        tf.saved_model.save(module, "generator", signatures={"generate": module.generate})
        serve = tf.saved_model.load("generator").signatures["generate"]
        ids = tf.constant([[5, 8, 9], [7, 0, 0]])
        assert serve(token_ids=ids, padding_mask=tf.cast(ids > 0, tf.int32))["token_ids"].shape == (2, 4)
        ```
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A SavedModel holds TensorFlow functions: set KERAS_BACKEND=tensorflow and load the model there. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    config = GenerationConfig.of(config, options).without_seed()
    decoding = Decoding(model)
    check_config(decoding, config)
    if prompt_length is not None:
        _check_prompt_length(decoding, prompt_length, config)
    run = whole_loop(decoding, config)
    prefix = "encoder_" if decoding.has_encoder else ""
    signature = {f"{prefix}{name}": ((None, prompt_length), "int32") for name in ("token_ids", "padding_mask")}
    if hasattr(config.sampler, "seed"):
        signature["seed"] = ((), "int32")

    def serve(inputs: dict) -> dict:
        return run(inputs if decoding.has_encoder else inputs | _padding_first(**inputs))

    return ops.compiled(serve, model.variables, signature)


def _check_prompt_length(decoding: Decoding, prompt_length: int, config: GenerationConfig) -> None:
    if isinstance(prompt_length, bool) or not isinstance(prompt_length, int) or prompt_length < 1:
        raise ValueError(f"prompt_length must be an integer above 0, or None. Received: {prompt_length!r}")
    if not decoding.has_encoder:
        check_length(decoding, prompt_length, config.max_new_tokens)
    elif decoding.encoder_positions is not None and prompt_length > decoding.encoder_positions:
        raise ValueError(
            f"The encoder has {decoding.encoder_positions} positions. Received: prompt_length={prompt_length}"
        )


def _padding_first(token_ids, padding_mask, seed=None) -> dict:
    """Moves padding before the tokens, whose order stays."""
    length = keras.ops.shape(token_ids)[1]
    places = keras.ops.expand_dims(keras.ops.arange(length, dtype="int32"), 0)
    order = keras.ops.argsort(padding_mask * length + places, axis=1)
    moved = {"token_ids": token_ids, "padding_mask": padding_mask}
    return {name: keras.ops.take_along_axis(tensor, order, axis=1) for name, tensor in moved.items()}
