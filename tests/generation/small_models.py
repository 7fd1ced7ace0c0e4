"""Models that build in no time, with weights large enough for clear choices, and what they compute without a cache."""

import keras
import numpy as np

from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    TransformerDecoder,
    TransformerEncoderDecoder,
)

VOCABULARY = 40
START = 1
PROMPTS = [[5, 8, 9, 31, 2], [7], [11, 11, 30]]


def sizes(key_heads=None, **changes):
    return {
        "vocabulary_size": VOCABULARY,
        "hidden_dim": 16,
        "num_layers": 2,
        "max_length": 24,
        "position": "rotary",
        "residual": "pre_norm",
        "attention": AttentionConfig(num_heads=4, num_key_value_heads=key_heads),
        "feed_forward": FeedForwardConfig(intermediate_dim=24),
        "initializer_range": 0.4,
    } | changes


def small_decoder(dtype=None, tied=False, **changes):
    """Untied by default: random tied weights predict the token that they have just read, again and again."""
    return TransformerDecoder(DecoderConfig(tie_embeddings=tied, **sizes(**changes)), dtype=dtype)


def small_encoder_decoder(dtype=None, tied=False, **changes):
    encoder = EncoderConfig(num_segments=0, **sizes(**changes))
    decoder = DecoderConfig(cross_attention=True, tie_embeddings=tied, **sizes(**changes))
    return TransformerEncoderDecoder(EncoderDecoderConfig(encoder, decoder), dtype=dtype)


def plain_logits(model, rows, source=None):
    """Logits of every token of rows of one length, float64 (rows, length, vocabulary): no cache, no padding."""
    ids = np.array(rows, "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    if source is not None:
        inputs = {f"decoder_{key}": value for key, value in inputs.items()}
        sources = np.repeat(np.array([source], "int32"), len(ids), axis=0)
        inputs |= {"encoder_token_ids": sources, "encoder_padding_mask": np.ones_like(sources)}
    return keras.ops.convert_to_numpy(model(inputs)["logits"]).astype("float64")


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def greedy_loop(model, prompt, num_tokens, source=None, change=lambda logits, tokens: logits):
    """Argmax by a plain forward pass of the whole sequence at every step; returns tokens and log-probability."""
    tokens, score = list(prompt), 0.0
    for _ in range(num_tokens):
        logits = change(plain_logits(model, [tokens], source)[0, -1], tokens)
        tokens.append(int(np.argmax(logits)))
        score += log_softmax(logits)[tokens[-1]]
    return tokens[len(prompt) :], score
