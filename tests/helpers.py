"""Shared parts of the tests: tiny models and tiny inputs."""

import numpy as np

HIDDEN = 16
BATCH, LENGTH = 3, 6
VOCABULARY = 30


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def integers(high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform int32 values in [0, high)."""
    return np.random.default_rng(seed).integers(0, high, shape).astype("int32")


def padding_mask(*lengths: int, length: int = LENGTH) -> np.ndarray:
    """Int32 mask with one row for each of `lengths`."""
    return (np.arange(length)[None] < np.array(lengths)[:, None]).astype("int32")


def text_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded sequences with two segments."""
    mask = padding_mask(LENGTH, 4, 1)
    return {
        "token_ids": (1 + integers(VOCABULARY - 1, BATCH, LENGTH)) * mask,
        "segment_ids": integers(2, BATCH, LENGTH, seed=1) * mask,
        "padding_mask": mask,
    }


def tiny_config(**changes):
    """An `EncoderConfig` that builds in no time, without dropout; weights large enough to matter."""
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig
    from keras_transformer.models import EncoderConfig

    values = {
        "vocabulary_size": VOCABULARY,
        "hidden_dim": HIDDEN,
        "num_layers": 2,
        "max_length": 12,
        "dropout": 0.0,
        "attention": AttentionConfig(num_heads=4, dropout=0.0),
        "feed_forward": FeedForwardConfig(intermediate_dim=24),
        "initializer_range": 0.2,
    }
    return EncoderConfig(**values | changes)


def tiny_decoder_config(**changes):
    """A `DecoderConfig` of the sizes of `tiny_config`."""
    from keras_transformer.models import DecoderConfig

    values = {k: v for k, v in vars(tiny_config()).items() if k not in ("num_segments", "pooler")}
    return DecoderConfig(**values | changes)


def tiny_encoder_decoder_config(share_embeddings: bool = True, **changes):
    """An `EncoderDecoderConfig` of the sizes of `tiny_config`."""
    from keras_transformer.models import EncoderDecoderConfig

    return EncoderDecoderConfig(
        tiny_config(num_segments=0, **changes), tiny_decoder_config(cross_attention=True, **changes), share_embeddings
    )


def decoder_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded sequences."""
    return {name: value for name, value in text_inputs().items() if name != "segment_ids"}


def encoder_decoder_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded pairs of sequences."""
    inputs = {f"decoder_{name}": value for name, value in decoder_inputs().items()}
    mask = padding_mask(5, 3, 2, length=5)
    return inputs | {
        "encoder_token_ids": (1 + integers(VOCABULARY - 1, BATCH, 5, seed=5)) * mask,
        "encoder_padding_mask": mask,
    }


def tiny_classifier(**changes):
    """A `TextClassifier` of two classes over `tiny_config`, without dropout."""
    from keras_transformer.models import TextClassifier

    return TextClassifier(tiny_encoder(**changes), num_outputs=2, dropout=0.0)


def tiny_encoder(**changes):
    """A `TransformerEncoder` over `tiny_config`."""
    from keras_transformer.models import TransformerEncoder

    return TransformerEncoder(tiny_config(**changes))
