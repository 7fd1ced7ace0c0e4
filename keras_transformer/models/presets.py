"""The sizes of published models by name, and the number of parameters of any config without building it."""

import dataclasses
import difflib
from typing import Any

import keras

from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.models.config import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    PositionConfig,
    TransformerConfig,
)
from keras_transformer.models.decoder import TransformerDecoder
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.encoder_decoder import TransformerEncoderDecoder

AnyConfig = TransformerConfig | EncoderDecoderConfig


def _bert(hidden_dim: int, num_layers: int, num_heads: int, **changes: Any) -> EncoderConfig:
    """Devlin et al., arXiv 1810.04805; the small ones: Turc et al., arXiv 1908.08962."""
    values = {
        "hidden_dim": hidden_dim,
        "num_layers": num_layers,
        "pooler": True,
        "attention": AttentionConfig(num_heads),
        "feed_forward": FeedForwardConfig(4 * hidden_dim),
    }
    return EncoderConfig(**values | changes)


def _gpt2(hidden_dim: int, num_layers: int, num_heads: int) -> DecoderConfig:
    """Radford et al., "Language Models are Unsupervised Multitask Learners", 2019."""
    return DecoderConfig(
        vocabulary_size=50257,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        max_length=1024,
        residual="pre_norm",
        attention=AttentionConfig(num_heads),
        feed_forward=FeedForwardConfig(4 * hidden_dim, "gelu_tanh"),
        norm=NormConfig(1e-5),
    )


def _t5(hidden_dim: int, intermediate_dim: int, num_layers: int, num_heads: int) -> EncoderDecoderConfig:
    """Raffel et al., arXiv 1910.10683, version 1.1: gated GELU, logits from a kernel of their own."""
    sizes = {
        "vocabulary_size": 32128,
        "hidden_dim": hidden_dim,
        "num_layers": num_layers,
        "position": PositionConfig("relative_bias"),
        "residual": "pre_norm",
        "attention": AttentionConfig(num_heads, 64, use_bias=False, scaled=False),
        "feed_forward": FeedForwardConfig(intermediate_dim, "gelu_tanh", gated=True, use_bias=False, dropout=0.1),
        "norm": NormConfig(1e-6, "rms_norm"),
    }
    return EncoderDecoderConfig(
        EncoderConfig(num_segments=0, **sizes),
        DecoderConfig(cross_attention=True, tie_embeddings=False, **sizes),
    )


def _llama_like(hidden_dim: int, intermediate_dim: int, num_layers: int, heads: tuple[int, int]) -> DecoderConfig:
    """Touvron et al., arXiv 2302.13971 and 2307.09288: rotary positions, gated SiLU, RMSNorm, grouped queries."""
    num_heads, num_key_value_heads = heads
    return DecoderConfig(
        vocabulary_size=32000,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        max_length=2048,
        position=PositionConfig("rotary"),
        residual="pre_norm",
        dropout=0.0,
        attention=AttentionConfig(num_heads, dropout=0.0, num_key_value_heads=num_key_value_heads, use_bias=False),
        feed_forward=FeedForwardConfig(intermediate_dim, "silu", gated=True, use_bias=False),
        norm=NormConfig(1e-5, "rms_norm"),
        tie_embeddings=False,
    )


def _transformer_base() -> EncoderDecoderConfig:
    """Vaswani et al., arXiv 1706.03762, table 3, "base": one table of 37,000 pieces for both sides and the logits."""
    sizes = {
        "vocabulary_size": 37000,
        "hidden_dim": 512,
        "num_layers": 6,
        "position": PositionConfig("sincos"),
        "attention": AttentionConfig(8, dropout=0.0),
        "feed_forward": FeedForwardConfig(2048, "relu"),
        "norm": NormConfig(1e-6),
        "scale_embeddings": True,
        "embedding_norm": False,
    }
    return EncoderDecoderConfig(EncoderConfig(num_segments=0, **sizes), DecoderConfig(cross_attention=True, **sizes))


PRESETS: dict[str, AnyConfig] = {
    "transformer-base": _transformer_base(),
    "bert-tiny": _bert(128, 2, 2),
    "bert-mini": _bert(256, 4, 4),
    "bert-small": _bert(512, 4, 8),
    "bert-medium": _bert(512, 8, 8),
    "bert-base": _bert(768, 12, 12),
    "bert-large": _bert(1024, 24, 16),
    "minilm-l6": _bert(384, 6, 12),
    "electra-small": _bert(256, 12, 4, pooler=False, embedding_dim=128, feed_forward=FeedForwardConfig(1024)),
    # 512 positions: the two rows before them that the published table holds are never read.
    "roberta-base": _bert(768, 12, 12, vocabulary_size=50265, num_segments=1, norm=NormConfig(1e-5)),
    "gpt2-small": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "t5-small": _t5(512, 1024, 8, 6),
    "t5-base": _t5(768, 2048, 12, 12),
    "t5-large": _t5(1024, 2816, 24, 16),
    "llama-like-tiny": _llama_like(288, 768, 6, (6, 6)),
    "llama-like-1b": _llama_like(2048, 5632, 22, (32, 4)),
    "llama-like-7b": _llama_like(4096, 11008, 32, (32, 32)),
}
"""Configs by name. `llama-like-1b` has the sizes of TinyLlama (arXiv 2401.02385); `llama-like-tiny` those of a model
for stories, to try things with."""


def preset(name: str, **changes: Any) -> AnyConfig:
    """Returns a config by its name.

    Args:
        name: One of `PRESETS`.
        **changes: Fields that are to have another value.

    Returns:
        A frozen config, for `create`.

    Raises:
        ValueError: For an unknown name or field.

    Example:
        ```python
        from keras_transformer import models

        config = models.preset("bert-tiny", vocabulary_size=8000)
        assert config.hidden_dim == 128
        ```
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}.{hint} Received: {name!r}")
    config = PRESETS[name]
    if not changes:
        return config
    return type(config).from_dict({f.name: getattr(config, f.name) for f in dataclasses.fields(config)} | changes)


def create(config: AnyConfig | str, **options: Any) -> keras.Model:
    """Builds the model that a config describes, with new weights.

    Args:
        config: `EncoderConfig`, `DecoderConfig`, `EncoderDecoderConfig`, or the name of a preset.
        **options: `dtype`, `name` and `trainable` of the model.

    Returns:
        `TransformerEncoder`, `TransformerDecoder` or `TransformerEncoderDecoder`.

    Raises:
        ValueError: For an unknown preset, or something that is no config.

    Example:
        ```python
        from keras_transformer import models

        encoder = models.create("bert-tiny")
        assert encoder.count_params() == models.count_parameters(encoder.config) == 4_385_920
        ```
    """
    config = preset(config) if isinstance(config, str) else config
    kinds = {
        EncoderConfig: TransformerEncoder,
        DecoderConfig: TransformerDecoder,
        EncoderDecoderConfig: TransformerEncoderDecoder,
    }
    if type(config) not in kinds:
        raise ValueError(f"config must be a config of this package or a preset's name. Received: {config!r}")
    return kinds[type(config)](config, **options)


def count_parameters(config: AnyConfig | str) -> int:
    """Counts the parameters of a model without building it.

    Args:
        config: `EncoderConfig`, `DecoderConfig`, `EncoderDecoderConfig`, or the name of a preset.

    Returns:
        Number of trainable parameters.

    Raises:
        ValueError: For an unknown preset.

    Example:
        ```python
        from keras_transformer import models

        assert models.count_parameters("llama-like-7b") == 6_738_415_616
        ```
    """
    config = preset(config) if isinstance(config, str) else config
    if isinstance(config, EncoderDecoderConfig):
        shared = _token_table(config.decoder) if config.share_embeddings else 0
        return count_parameters(config.encoder) + count_parameters(config.decoder) - shared
    cross = isinstance(config, DecoderConfig) and config.cross_attention
    blocks = 1 if config.share_blocks else config.num_layers
    total = _embeddings(config) + blocks * _block(config, cross)
    if config.normalises_output:
        total += _norm(config, config.hidden_dim)
    if isinstance(config, EncoderConfig) and config.pooler:
        total += config.hidden_dim * (config.hidden_dim + 1)
    if isinstance(config, DecoderConfig) and not config.tie_embeddings:
        total += config.vocabulary_size * config.hidden_dim
    return total


def _token_table(config: TransformerConfig) -> int:
    return config.vocabulary_size * (config.embedding_dim or config.hidden_dim)


def _norm(config: TransformerConfig, width: int) -> int:
    return width * (2 if config.norm.kind == "layer_norm" else 1)


def _embeddings(config: TransformerConfig) -> int:
    width = config.embedding_dim or config.hidden_dim
    total = _token_table(config) + getattr(config, "num_segments", 0) * width
    if config.normalises_embeddings:
        total += _norm(config, width)
    if config.embedding_dim is not None:
        total += (width + 1) * config.hidden_dim
    position = config.position
    return total + {
        "learned": config.max_length * width,
        "relative_bias": position.num_buckets * config.attention.num_heads,
        "relative_keys": (2 * position.max_distance + 1) * config.attention.head_width(config.hidden_dim),
    }.get(position.scheme, 0)


def _block(config: TransformerConfig, cross_attention: bool) -> int:
    attentions = 2 if cross_attention else 1
    return attentions * _attention(config) + _feed_forward(config) + (attentions + 1) * _norm(config, config.hidden_dim)


def _attention(config: TransformerConfig) -> int:
    attention, hidden = config.attention, config.hidden_dim
    width = attention.head_width(hidden)
    queries = attention.num_heads * width
    keys = (attention.num_key_value_heads or attention.num_heads) * width
    biases = queries + 2 * keys + hidden if attention.use_bias else 0
    return 2 * hidden * (queries + keys) + biases


def _feed_forward(config: TransformerConfig) -> int:
    feed_forward, hidden = config.feed_forward, config.hidden_dim
    inner = feed_forward.intermediate_dim * (2 if feed_forward.gated else 1)
    biases = inner + hidden if feed_forward.use_bias else 0
    return hidden * (inner + feed_forward.intermediate_dim) + biases
