"""Cases of the small layers: dense, norms, dropout, masks, pooling, embeddings, feed-forward."""

import numpy as np

from keras_transformer import layers
from keras_transformer.layers import NormConfig
from tests.cases.case import FEED_FORWARD, Case
from tests.helpers import BATCH, HIDDEN, LENGTH, VOCABULARY, floats, integers, padding_mask


def sequence() -> dict[str, np.ndarray]:
    return {"x": floats(BATCH, LENGTH, HIDDEN)}


def far_from_zero() -> dict[str, np.ndarray]:
    return {"x": 3 + 2 * floats(BATCH, LENGTH, HIDDEN)}


def padded_sequence() -> dict[str, np.ndarray]:
    return {"sequence": floats(BATCH, LENGTH, HIDDEN), "padding_mask": padding_mask(LENGTH, 4, 2)}


def tokens(**more: np.ndarray) -> dict[str, np.ndarray]:
    return {"token_ids": integers(VOCABULARY, BATCH, LENGTH)} | more


PARTS = [
    Case(
        layers.Dense,
        "gelu",
        lambda: {"units": 5, "activation": "gelu", "initializer_range": 0.3},
        sequence,
        parameters=HIDDEN * 5 + 5,
    ),
    Case(
        layers.Dense,
        "no bias, rank 2",
        lambda: {"units": 5, "activation": "linear", "use_bias": False, "initializer_range": 0.3},
        lambda: {"x": floats(BATCH, HIDDEN)},
        parameters=HIDDEN * 5,
    ),
    Case(layers.Dropout, "rate and seed", lambda: {"rate": 0.25, "seed": 7}, sequence),
    Case(layers.StochasticDepth, "rate and seed", lambda: {"rate": 0.25, "seed": 7}, sequence),
    Case(layers.LayerNorm, "epsilon", lambda: {"epsilon": 1e-5}, far_from_zero, parameters=2 * HIDDEN),
    Case(layers.RMSNorm, "epsilon", lambda: {"epsilon": 1e-5}, far_from_zero, parameters=HIDDEN),
    Case(
        layers.AttentionMask,
        "fill value",
        lambda: {"fill_value": -30.0},
        lambda: {"padding_mask": padding_mask(LENGTH, 4, 1)},
        padded=("padding_mask",),
    ),
    Case(
        layers.AttentionMask,
        "causal, window, examples in a row",
        lambda: {"causal": True, "window": 3, "fill_value": -30.0},
        lambda: {
            "padding_mask": padding_mask(LENGTH, 4, 1),
            "example_ids": np.array([[1, 1, 1, 2, 2, 2], [1, 2, 2, 2, 0, 0], [1, 0, 0, 0, 0, 0]], "int32"),
        },
    ),
    *(
        Case(cls, "padded", dict, padded_sequence, padded=("sequence", "padding_mask"))
        for cls in (layers.MeanPooling, layers.FirstTokenPooling, layers.MaxPooling)
    ),
    Case(
        layers.AttentionPooling,
        "padded",
        lambda: {"initializer_range": 0.3},
        padded_sequence,
        parameters=HIDDEN,
        padded=("sequence", "padding_mask"),
    ),
    Case(
        layers.TokenEmbedding,
        "scaled",
        lambda: {"vocabulary_size": VOCABULARY, "dim": HIDDEN, "scaled": True, "initializer_range": 0.3},
        lambda: {"inputs": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=VOCABULARY * HIDDEN,
    ),
    Case(
        layers.TransformerEmbedding,
        "segments, norm, positions",
        lambda: {
            "vocabulary_size": VOCABULARY,
            "hidden_dim": HIDDEN,
            "num_segments": 3,
            "norm": NormConfig(1e-6),
            "dropout": 0.1,
            "initializer_range": 0.3,
        },
        lambda: tokens(segment_ids=integers(3, BATCH, LENGTH, seed=1), positions=floats(1, LENGTH, HIDDEN)),
        parameters=(VOCABULARY + 3) * HIDDEN + 2 * HIDDEN,
    ),
    Case(
        layers.TransformerEmbedding,
        "tokens only",
        lambda: {"vocabulary_size": VOCABULARY, "hidden_dim": HIDDEN, "num_segments": 0},
        tokens,
        parameters=VOCABULARY * HIDDEN,
    ),
    Case(
        layers.TransformerEmbedding,
        "factorised",
        lambda: {
            "vocabulary_size": VOCABULARY,
            "hidden_dim": HIDDEN,
            "norm": NormConfig(1e-6, kind="rms_norm"),
            "embedding_dim": 8,
            "scaled": True,
            "initializer_range": 0.3,
        },
        lambda: tokens(segment_ids=integers(2, BATCH, LENGTH, seed=1), positions=floats(1, LENGTH, 8)),
        parameters=(VOCABULARY + 2) * 8 + 8 + 8 * HIDDEN + HIDDEN,
    ),
    Case(
        layers.FeedForward,
        "silu",
        lambda: {"hidden_dim": HIDDEN, "intermediate_dim": 24, "activation": "silu", "initializer_range": 0.3},
        sequence,
        parameters=FEED_FORWARD,
    ),
    Case(
        layers.FeedForward,
        "gated",
        lambda: {
            "hidden_dim": HIDDEN,
            "intermediate_dim": 24,
            "activation": "gelu_tanh",
            "gated": True,
            "use_bias": False,
            "dropout": 0.1,
            "initializer_range": 0.3,
        },
        sequence,
        parameters=3 * HIDDEN * 24,
    ),
]
