"""Cases of the models for pretraining."""

import numpy as np

from keras_transformer import models
from tests.cases.case import ATTENTION, BLOCK, KEY_BIAS, Case
from tests.cases.models import BOTH_SIDES, ENCODER, POSITIONS, TEXT
from tests.helpers import (
    HIDDEN,
    VOCABULARY,
    decoder_inputs,
    encoder_decoder_inputs,
    text_inputs,
    tiny_decoder_config,
    tiny_encoder,
    tiny_encoder_decoder_config,
)

HEAD = (HIDDEN * HIDDEN + HIDDEN) + 2 * HIDDEN + VOCABULARY
# A generator of half the width: two heads of four, an inner layer of 12, and tables as wide as those it shares.
HALF = HIDDEN // 2
GENERATOR = (
    (2 + 12 + 2) * HIDDEN
    + (HIDDEN * HALF + HALF)
    + 2 * (4 * (HALF * HALF + HALF) + (HALF * 12 + 12 + 12 * HALF + HALF) + 2 * 2 * HALF)
    + (HALF * HIDDEN + HIDDEN + 2 * HIDDEN + VOCABULARY)
)


def several_texts() -> dict[str, np.ndarray]:
    """Where the texts of each row stand, within the padding mask of `text_inputs`."""
    return {
        "position_ids": np.array([[0, 1, 2, 0, 1, 2], [0, 0, 1, 2, 0, 0], [0] * 6], "int32"),
        "example_ids": np.array([[1, 1, 1, 2, 2, 2], [1, 2, 2, 2, 0, 0], [1, 0, 0, 0, 0, 0]], "int32"),
    }


def masked_inputs() -> dict[str, np.ndarray]:
    return text_inputs() | {"masked_positions": np.array([[1, 4], [0, 3], [0, 0]], "int32")}


def replaced_inputs() -> dict[str, np.ndarray]:
    inputs = masked_inputs() | several_texts()
    original = inputs["token_ids"].copy()
    for row, place in enumerate(inputs["masked_positions"]):
        inputs["token_ids"][row, place] = original[row, place] % (VOCABULARY - 1) + 1  # any other token
    return inputs | {"original_ids": original}


PRETRAINING = [
    Case(
        models.MaskedLanguageModel,
        "several texts in a row",
        lambda: {"backbone": tiny_encoder()},
        lambda: masked_inputs() | several_texts(),
        parameters=ENCODER + HEAD,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.MaskedLanguageModel,
        "pre-norm, factorised, tanh",
        lambda: {
            "backbone": tiny_encoder(residual="pre_norm", embedding_dim=8, embedding_norm=True),
            "packed": False,
            "activation": "tanh",
            "name": "other",
        },
        masked_inputs,
        parameters=(VOCABULARY + 2 + 12 + 2) * 8
        + (8 * HIDDEN + HIDDEN)
        + (2 * BLOCK + 2 * HIDDEN)
        + (HIDDEN * 8 + 8 + 2 * 8 + VOCABULARY),
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.SentencePairModel,
        "with a pooler of its own",
        lambda: {"backbone": tiny_encoder(), "activation": "silu", "name": "pairs"},
        masked_inputs,
        parameters=ENCODER + HEAD + (HIDDEN * HIDDEN + HIDDEN) + (2 * HIDDEN + 2),
        padded=TEXT,
        dead=KEY_BIAS,
        float32=(True, True),
    ),
    Case(
        models.ReplacedTokenModel,
        "generator of half the width",
        lambda: {"backbone": tiny_encoder(), "generator_fraction": 0.5, "seed": 3, "name": "electra"},
        replaced_inputs,
        parameters=ENCODER + GENERATOR + (HIDDEN * HIDDEN + HIDDEN) + (HIDDEN + 1),
        dead=KEY_BIAS,
        float32=(True, True),
    ),
    Case(
        models.NextTokenModel,
        "several texts in a row",
        lambda: {"backbone": models.TransformerDecoder(tiny_decoder_config(residual="pre_norm"))},
        lambda: decoder_inputs() | several_texts(),
        parameters=VOCABULARY * HIDDEN + POSITIONS + 2 * BLOCK + 2 * HIDDEN,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.NextTokenModel,
        "behind a prefix, rotary",
        lambda: {
            "backbone": models.TransformerDecoder(tiny_decoder_config(position="rotary", tie_embeddings=False)),
            "packed": False,
            "prefix": True,
            "name": "prefix",
        },
        lambda: decoder_inputs() | {"prefix_mask": (np.arange(6) < [[3], [1], [1]]).astype("int32")},
        parameters=2 * VOCABULARY * HIDDEN + 2 * BLOCK + 2 * HIDDEN,
        padded=("token_ids", "padding_mask", "prefix_mask"),
        float32=True,
    ),
    Case(
        models.SequenceToSequenceModel,
        "shared embeddings",
        lambda: {
            "backbone": models.TransformerEncoderDecoder(
                tiny_encoder_decoder_config(position="relative_bias", residual="pre_norm")
            ),
            "name": "sequences",
        },
        encoder_decoder_inputs,
        parameters=VOCABULARY * HIDDEN + 4 * BLOCK + 2 * (ATTENTION + 2 * HIDDEN) + 2 * 2 * HIDDEN + 2 * 32 * 4,
        padded=BOTH_SIDES,
        dead=KEY_BIAS,
        float32=True,
    ),
    # At the paper's temperature of 0.05 the steps of finite differences would be too long.
    Case(
        models.ContrastiveModel,
        "first token",
        lambda: {"backbone": tiny_encoder(), "pooling": "first", "temperature": 1.0, "name": "first"},
        text_inputs,
        parameters=ENCODER + HIDDEN * HIDDEN + HIDDEN,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
        mixes_rows=True,
    ),
    Case(
        models.ContrastiveModel,
        "mean without projection",
        lambda: {"backbone": tiny_encoder(residual="pre_norm"), "temperature": 0.5, "projection": False},
        text_inputs,
        parameters=ENCODER,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
        mixes_rows=True,
    ),
]
