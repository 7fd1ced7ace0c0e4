"""Cases of attention and of the blocks."""

import numpy as np

from keras_transformer import layers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from tests.cases.case import ATTENTION, BLOCK, KEY_BIAS, Case
from tests.helpers import BATCH, HIDDEN, LENGTH, floats, padding_mask


def arguments(**changes) -> dict:
    """Constructor arguments of a block."""
    return {
        "hidden_dim": HIDDEN,
        "attention": AttentionConfig(num_heads=4, dropout=0.0),
        "feed_forward": FeedForwardConfig(intermediate_dim=24, activation="gelu"),
        "norm": NormConfig(1e-6),
        "initializer_range": 0.2,
    } | changes


def hidden_states(**more: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": floats(BATCH, LENGTH, HIDDEN)} | more


def mask_bias() -> np.ndarray:
    return np.where(padding_mask(LENGTH, 4, 1)[:, None, None] > 0, 0.0, -30000.0).astype("float32")


def causal_bias() -> np.ndarray:
    return np.where(np.tri(LENGTH)[None, None] > 0, 0.0, -30000.0).astype("float32")


def rotation(dim: int) -> np.ndarray:
    angles = np.arange(LENGTH)[:, None] * 100.0 ** -(np.arange(0, dim, 2) / dim)
    return np.concatenate([np.cos(angles), np.sin(angles)], -1)[None, None].astype("float32")


BLOCKS = [
    Case(
        layers.MultiHeadAttention,
        "masked self-attention",
        lambda: {"hidden_dim": HIDDEN, "num_heads": 4, "dropout": 0.1, "initializer_range": 0.3},
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "attention_bias": mask_bias()},
        parameters=ATTENTION,
        dead=KEY_BIAS,
    ),
    Case(
        layers.MultiHeadAttention,
        "cross-attention of another width",
        lambda: {"hidden_dim": HIDDEN, "num_heads": 2, "head_dim": 5, "initializer_range": 0.3},
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "key_value": floats(BATCH, 4, 12, seed=1)},
        parameters=(HIDDEN * 10 + 10) + 2 * (12 * 10 + 10) + (10 * HIDDEN + HIDDEN),
        dead=KEY_BIAS,
    ),
    Case(
        layers.MultiHeadAttention,
        "grouped queries, rotation, distances",
        lambda: {
            "hidden_dim": HIDDEN,
            "num_heads": 4,
            "num_key_value_heads": 2,
            "use_bias": False,
            "scaled": False,
            "initializer_range": 0.3,
        },
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "rotation": rotation(4)},
        parameters=2 * HIDDEN * HIDDEN + 2 * HIDDEN * 8,
    ),
    Case(
        layers.EncoderBlock,
        "post-norm",
        lambda: arguments(dropout=0.1),
        lambda: hidden_states(attention_bias=mask_bias()),
        parameters=BLOCK,
        dead=KEY_BIAS,
    ),
    Case(
        layers.EncoderBlock,
        "pre-norm, computed again",
        lambda: arguments(residual="pre_norm", dropout=0.1, recompute=True),
        hidden_states,
        parameters=BLOCK,
        dead=KEY_BIAS,
    ),
    Case(
        layers.EncoderBlock,
        "parallel, root mean square",
        lambda: arguments(residual="parallel", stochastic_depth=0.2, norm=NormConfig(1e-6, kind="rms_norm")),
        lambda: hidden_states(attention_bias=mask_bias()),
        parameters=BLOCK - 2 * HIDDEN,
        dead=KEY_BIAS,
    ),
    Case(
        layers.EncoderBlock,
        "some of the tokens",
        lambda: arguments(residual="pre_norm", dropout=0.1),
        lambda: hidden_states(
            attention_bias=mask_bias(),
            query=floats(BATCH, 2, HIDDEN, seed=1),
            rotation=rotation(4),
            query_rotation=rotation(4)[:, :, 1:3],
        ),
        parameters=BLOCK,
    ),
    Case(
        layers.DecoderBlock,
        "alone, grouped queries",
        lambda: arguments(
            residual="pre_norm", attention=AttentionConfig(num_heads=4, dropout=0.1, num_key_value_heads=1)
        ),
        lambda: hidden_states(attention_bias=causal_bias(), rotation=rotation(4)),
        parameters=BLOCK - 2 * (HIDDEN * 12 + 12),
    ),
    Case(
        layers.DecoderBlock,
        "behind an encoder",
        lambda: arguments(cross_attention=True, dropout=0.1),
        lambda: hidden_states(attention_bias=causal_bias(), encoder_output=floats(BATCH, 4, HIDDEN, seed=1)),
        parameters=BLOCK + ATTENTION + 2 * HIDDEN,
        dead=KEY_BIAS,
    ),
]
