"""Replaced tokens: the generator and the discriminator of ELECTRA (Clark et al., arXiv 2003.10555)."""

import dataclasses
import math
from typing import Any

import keras

from keras_transformer import layers, ops
from keras_transformer.models.config import EncoderConfig
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.pretraining_parts import (
    PACKED_INPUTS,
    TEXT_INPUTS,
    _MaskedEncoding,
    _MaskedHead,
    backbone_of,
    create_inputs,
    policy_of,
)

# Numbers that float32 can tell apart between 0 and 1, with a half added.
_STEPS = 1 << 23


@keras.saving.register_keras_serializable("keras_transformer")
class ReplacedTokenModel(keras.Model):
    """A generator fills in masked tokens, and the backbone says of every token whether it is the one of the text.

    The generator is an encoder of as many blocks, narrower, that reads the token table of the backbone. What it fills
    in is drawn from its logits by Gumbel noise; no gradient goes through the draw. A draw that is the token of the text
    counts as that token. Outside of training the noise is the same at every call, so that two measurements agree.

    Which tokens were replaced is known inside the model only. So `replaced` is the discriminator's logit with a sign:
    as it is where the token is that of the text, and negated where it is another. The binary cross-entropy of this
    logit with the label 0 everywhere is the discriminator's loss, and it is right where the logit is below 0.

    Args:
        backbone: `TransformerEncoder`, or its `get_config()` dict: the discriminator, which is what one keeps.
        generator_fraction: Width of the generator (heads and feed-forward) as a fraction of the backbone's, in (0, 1].
            Default 0.25; the paper has 1/4 to 1/2.
        packed: Whether a row holds several texts that do not see each other. Default True.
        seed: Seed of the draws, or None (default) for one from `keras.utils.set_random_seed`.
        name: Name of the model. Default "replaced_token_model".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: Dict of int32 tensors of shape (batch, length): `token_ids`, `original_ids`, which differ from them
            where a token is masked and nowhere else, `segment_ids`, `padding_mask` and, if `packed`, `position_ids` and
            `example_ids`, see `MaskedLanguageModel`; and `masked_positions` of shape (batch, count): the places of the
            masked tokens, ascending, and anything behind the last one.

    Returns:
        Dict of float32: `masked` of shape (batch, count, vocabulary_size), the generator's logits, and `replaced` of
        shape (batch, length), the discriminator's signed logits.

    Raises:
        ValueError: If the backbone is no encoder, or the fraction out of its range.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, ReplacedTokenModel, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=1,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = ReplacedTokenModel(TransformerEncoder(config), packed=False)
        ids = np.array([[2, 17, 8, 9, 3]], "int32")
        inputs = {
            "token_ids": np.array([[2, 17, 4, 9, 3]], "int32"), "original_ids": ids,
            "segment_ids": ids * 0, "padding_mask": ids * 0 + 1, "masked_positions": np.array([[2]], "int32"),
        }
        outputs = model(inputs)
        assert outputs["masked"].shape == (1, 1, 100) and outputs["replaced"].shape == (1, 5)
        ```
    """

    def __init__(
        self,
        backbone: TransformerEncoder | dict,
        generator_fraction: float = 0.25,
        packed: bool = True,
        seed: int | None = None,
        *,
        name: str = "replaced_token_model",
        trainable: bool = True,
    ):
        backbone = backbone_of(TransformerEncoder, backbone)
        config, policy = backbone.config, policy_of(backbone)
        initializer = {"initializer_range": config.initializer_range}

        # Layers
        self.backbone = backbone
        # The scope gives every variable a path of its own.
        with keras.name_scope("generator"):
            self.generator = _SharingEncoder(
                backbone.embeddings.tokens, generator_config(config, generator_fraction), name="generator", **policy
            )
        self.encoding = _MaskedEncoding(self.generator, name="encoding")
        self.masked_head = _MaskedHead(self.generator, name="masked_head")
        self.filling = _Filling(seed, name="filling")
        self.replaced_transform = layers.Dense(
            config.hidden_dim, config.feed_forward.activation, name="replaced_transform", **initializer, **policy
        )
        self.replaced_head = layers.Dense(1, name="replaced_head", dtype="float32", **initializer)

        # Graph
        inputs = create_inputs(*TEXT_INPUTS, *(PACKED_INPUTS if packed else ()), "masked_positions", "original_ids")
        logits = self.masked_head(self.encoding({k: v for k, v in inputs.items() if k != "original_ids"}))
        filled, signs = self.filling(logits, inputs["token_ids"], inputs["original_ids"])
        places = {key: inputs[key] for key in PACKED_INPUTS if packed}
        embeddings = backbone.embed(filled, inputs["segment_ids"], places.get("position_ids"))
        sequence = backbone.encode(embeddings, inputs["padding_mask"], **places)
        replaced = keras.ops.squeeze(self.replaced_head(self.replaced_transform(sequence)), -1)
        super().__init__(
            inputs=inputs, outputs={"masked": logits, "replaced": replaced * signs}, name=name, trainable=trainable
        )

        # Config
        self.generator_fraction = generator_fraction
        self.packed = packed
        self.seed = seed

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "backbone": self.backbone.get_config(),
            "generator_fraction": self.generator_fraction,
            "packed": self.packed,
            "seed": self.seed,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ReplacedTokenModel":
        """Builds the model from `get_config`."""
        return cls(**config)


def generator_config(config: EncoderConfig, fraction: float) -> EncoderConfig:
    """Returns the config of a generator for a discriminator.

    Args:
        config: Of the discriminator.
        fraction: Width of the generator as a fraction of it, in (0, 1].

    Returns:
        A config with as many blocks, heads of the same width but fewer of them, a feed-forward network that is narrower
        by the same fraction, and token embeddings of the same width.

    Raises:
        ValueError: For a fraction out of its range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"generator_fraction must be above 0 and at most 1. Received: {fraction!r}")
    attention, feed_forward = config.attention, config.feed_forward
    num_heads = max(1, round(fraction * attention.num_heads))
    shared = attention.num_key_value_heads
    hidden_dim = num_heads * attention.head_width(config.hidden_dim)
    table_width = config.embedding_dim or config.hidden_dim
    return dataclasses.replace(
        config,
        hidden_dim=hidden_dim,
        embedding_dim=None if table_width == hidden_dim else table_width,
        pooler=False,
        attention=dataclasses.replace(
            attention, num_heads=num_heads, num_key_value_heads=shared and math.gcd(shared, num_heads)
        ),
        feed_forward=dataclasses.replace(
            feed_forward, intermediate_dim=max(1, round(fraction * feed_forward.intermediate_dim))
        ),
    )


class _SharingEncoder(TransformerEncoder):
    """An encoder that reads the token table of another; saved and loaded with the model that holds both."""

    def __init__(self, tokens: layers.TokenEmbedding, *args: Any, **kwargs: Any):
        self._shared_tokens = tokens
        super().__init__(*args, **kwargs)

    def _create_embeddings(self, config: EncoderConfig, **policy: Any) -> layers.TransformerEmbedding:
        embeddings = super()._create_embeddings(config, **policy)
        embeddings.tokens = self._shared_tokens
        return embeddings


class _Filling(keras.layers.Layer):
    """Draws a token for every masked place.

    Args:
        seed: Seed of the draws, or None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        logits: Float32 tensor of shape (batch, count, vocabulary_size).
        token_ids: Int32 tensor of shape (batch, length): the text with masked tokens.
        original_ids: Int32 tensor of shape (batch, length): the text.
        training: Whether every call draws anew.

    Returns:
        Pair of the text with tokens drawn for the masked ones, int32 of shape (batch, length), and float32 of the same
        shape: 1 where it is the text itself, and -1 elsewhere.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, logits, token_ids, original_ids, training: bool | None = None):
        # Integers, of which XLA draws the same; half a step from 0 and 1, so that no logarithm is infinite.
        steps = keras.random.randint(
            keras.ops.shape(logits), 0, _STEPS, dtype="int32", seed=self.seed_generator if training else 0
        )
        uniform = (keras.ops.cast(steps, "float32") + 0.5) / _STEPS
        gumbel = -keras.ops.log(-keras.ops.log(uniform))
        drawn = keras.ops.argmax(keras.ops.stop_gradient(logits) + gumbel, axis=-1)
        # The masked places ascend, so the n-th masked token of a row has the n-th draw: a gather, not a scatter.
        masked = keras.ops.not_equal(token_ids, original_ids)
        number = keras.ops.cumsum(keras.ops.cast(masked, "int32"), axis=1) - 1
        number = keras.ops.clip(number, 0, keras.ops.shape(drawn)[1] - 1)
        filled = keras.ops.where(masked, ops.take_tokens(keras.ops.cast(drawn, "int32"), number), original_ids)
        return filled, 1.0 - 2.0 * keras.ops.cast(keras.ops.not_equal(filled, original_ids), "float32")

    def compute_output_spec(self, logits, token_ids, original_ids, training: bool | None = None):
        return (
            keras.KerasTensor(token_ids.shape, dtype="int32"),
            keras.KerasTensor(token_ids.shape, dtype="float32"),
        )
