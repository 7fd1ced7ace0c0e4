"""Cases of the position schemes: each in order, and for given positions."""

import functools

import numpy as np

from keras_transformer import layers
from tests.cases.case import Case
from tests.cases.parts import tokens
from tests.helpers import BATCH, HIDDEN, LENGTH, integers


def given(high: int) -> dict[str, np.ndarray]:
    return tokens(position_ids=integers(high, BATCH, LENGTH, seed=2))


def pairs(high: int) -> dict[str, np.ndarray]:
    return given(high) | {"key_positions": integers(high, BATCH, 4, seed=3)}


POSITIONS = [
    Case(
        layers.LearnedPositions,
        "in order",
        lambda: {"max_length": LENGTH, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        tokens,
        parameters=LENGTH * HIDDEN,
    ),
    Case(
        layers.LearnedPositions,
        "given",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        functools.partial(given, 12),
        parameters=12 * HIDDEN,
    ),
    Case(layers.SinCosPositions, "in order", lambda: {"max_length": 12, "hidden_dim": HIDDEN}, tokens),
    Case(
        layers.SinCosPositions,
        "given",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN},
        functools.partial(given, 12),
    ),
    Case(
        layers.RotaryPositions,
        "stretched",
        lambda: {"dim": 4, "theta": 500.0, "scaling": "linear", "factor": 2.0},
        tokens,
        float32=True,
    ),
    Case(
        layers.RotaryPositions,
        "given",
        lambda: {"dim": 4, "scaling": "ntk", "factor": 4.0},
        functools.partial(given, 1000),
        float32=True,
    ),
    Case(
        layers.RelativeBias,
        "causal, in order",
        lambda: {
            "num_heads": 4,
            "bidirectional": False,
            "num_buckets": 8,
            "max_distance": 16,
            "initializer_range": 0.3,
        },
        tokens,
        parameters=8 * 4,
        float32=True,
    ),
    Case(
        layers.RelativeBias,
        "both sides, given",
        lambda: {"num_heads": 4, "initializer_range": 0.3},
        functools.partial(pairs, 500),
        parameters=32 * 4,
        float32=True,
    ),
    Case(layers.ALiBi, "six heads", lambda: {"num_heads": 6}, tokens, float32=True),
    Case(layers.ALiBi, "given", lambda: {"num_heads": 4}, functools.partial(pairs, 500), float32=True),
    Case(
        layers.RelativeKeys,
        "near",
        lambda: {"head_dim": 4, "max_distance": 2, "initializer_range": 0.3},
        tokens,
        parameters=5 * 4,
    ),
    Case(
        layers.RelativeKeys,
        "given",
        lambda: {"head_dim": 4, "max_distance": 9, "initializer_range": 0.3},
        functools.partial(pairs, 20),
        parameters=19 * 4,
    ),
]
