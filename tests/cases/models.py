"""Cases of the models."""

from keras_transformer import models
from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.training.distributed import DistributedModel
from tests.cases.case import ATTENTION, BLOCK, KEY_BIAS, Case
from tests.helpers import (
    BATCH,
    HIDDEN,
    VOCABULARY,
    decoder_inputs,
    encoder_decoder_inputs,
    floats,
    padding_mask,
    text_inputs,
    tiny_classifier,
    tiny_config,
    tiny_decoder_config,
    tiny_encoder,
    tiny_encoder_decoder_config,
)

EMBEDDINGS = (VOCABULARY + 2) * HIDDEN
POSITIONS = 12 * HIDDEN
ENCODER = EMBEDDINGS + POSITIONS + 2 * HIDDEN + 2 * BLOCK
TEXT = ("token_ids", "segment_ids", "padding_mask")
BOTH_SIDES = {f"{side}_padding_mask": (f"{side}_token_ids", f"{side}_padding_mask") for side in ("encoder", "decoder")}

MODELS = [
    Case(
        models.TransformerEncoder,
        "post-norm",
        lambda: {"config": tiny_config()},
        text_inputs,
        parameters=ENCODER,
        padded=TEXT,
        dead=KEY_BIAS,
    ),
    Case(
        models.TransformerEncoder,
        "pre-norm, sincos, pooler, no segments",
        lambda: {
            "config": tiny_config(residual="pre_norm", position="sincos", pooler=True, num_segments=0),
            "name": "other",
        },
        text_inputs,
        parameters=VOCABULARY * HIDDEN + 2 * BLOCK + 2 * HIDDEN + (HIDDEN * HIDDEN + HIDDEN),
        padded=TEXT,
        dead=KEY_BIAS,
    ),
    Case(
        models.TextClassifier,
        "one of three labels, mean",
        lambda: {"encoder": tiny_encoder(), "num_outputs": 3, "dropout": 0.2},
        text_inputs,
        parameters=ENCODER + 3 * HIDDEN + 3,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.TextClassifier,
        "many labels, first token, pooler",
        lambda: {
            "encoder": tiny_encoder(pooler=True, residual="pre_norm"),
            "num_outputs": 4,
            "kind": "multi_label",
            "pooling": "first",
            "name": "tags",
        },
        text_inputs,
        parameters=EMBEDDINGS + POSITIONS + 2 * HIDDEN + 2 * BLOCK + (HIDDEN * HIDDEN + HIDDEN) + 4 * HIDDEN + 4,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.TextClassifier,
        "regression",
        lambda: {"encoder": tiny_encoder(position="sincos"), "num_outputs": 1, "kind": "regression"},
        text_inputs,
        parameters=ENCODER - POSITIONS + HIDDEN + 1,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.MultiTaskClassifier,
        "one of three labels by the mean, many labels by the first token",
        lambda: {
            "encoder": tiny_encoder(),
            "heads": {
                "topic": {"num_outputs": 3, "kind": "single_label", "pooling": "mean"},
                "tags": {"num_outputs": 4, "kind": "multi_label", "pooling": "first"},
            },
            "dropout": 0.2,
        },
        text_inputs,
        parameters=ENCODER + 7 * HIDDEN + 7,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
    Case(
        models.TransformerEncoder,
        "relative keys, window, factorised, stochastic depth",
        lambda: {
            "config": tiny_config(position="relative_keys", window=3, embedding_dim=8, stochastic_depth=0.2),
        },
        text_inputs,
        parameters=(VOCABULARY + 2) * 8 + 2 * 8 + 8 * HIDDEN + HIDDEN + 2 * BLOCK + (2 * 128 + 1) * 4,
        padded=TEXT,
        dead=KEY_BIAS,
    ),
    Case(
        models.TransformerDecoder,
        "as GPT-2",
        lambda: {"config": tiny_decoder_config(residual="pre_norm")},
        decoder_inputs,
        parameters=VOCABULARY * HIDDEN + POSITIONS + 2 * BLOCK + 2 * HIDDEN,
        padded=("token_ids", "padding_mask"),
        dead=KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        models.TransformerDecoder,
        "as Llama",
        lambda: {
            "config": tiny_decoder_config(
                residual="pre_norm",
                position="rotary",
                norm=NormConfig(epsilon=1e-6, kind="rms_norm"),
                attention=AttentionConfig(num_heads=4, dropout=0.0, num_key_value_heads=2, use_bias=False),
                feed_forward=FeedForwardConfig(intermediate_dim=24, activation="silu", gated=True, use_bias=False),
                tie_embeddings=False,
            ),
            "name": "llama",
        },
        decoder_inputs,
        parameters=2 * VOCABULARY * HIDDEN
        + 2 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * 8 + 3 * HIDDEN * 24 + 2 * HIDDEN)
        + HIDDEN,
        padded=("token_ids", "padding_mask"),
        float32=(True, False),
    ),
    Case(
        models.TransformerDecoder,
        "behind an encoder, ALiBi",
        lambda: {"config": tiny_decoder_config(position="alibi", cross_attention=True)},
        lambda: (
            decoder_inputs()
            | {
                "encoder_output": floats(BATCH, 5, HIDDEN, seed=4),
                "encoder_padding_mask": padding_mask(5, 3, 2, length=5),
            }
        ),
        parameters=VOCABULARY * HIDDEN + 2 * HIDDEN + 2 * (BLOCK + ATTENTION + 2 * HIDDEN),
        padded={
            "padding_mask": ("token_ids", "padding_mask"),
            "encoder_padding_mask": ("encoder_output", "encoder_padding_mask"),
        },
        dead=KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        models.TransformerEncoder,
        "one block for all layers, as ALBERT",
        lambda: {"config": tiny_config(share_blocks=True, num_layers=3, embedding_dim=8)},
        text_inputs,
        parameters=(VOCABULARY + 2) * 8 + 12 * 8 + 2 * 8 + 8 * HIDDEN + HIDDEN + BLOCK,
        padded=TEXT,
        dead=KEY_BIAS,
    ),
    Case(
        models.TransformerDecoder,
        "scaled logits, as the first T5",
        lambda: {"config": tiny_decoder_config(scale_logits=True, position="none", residual="pre_norm")},
        decoder_inputs,
        parameters=VOCABULARY * HIDDEN + 2 * BLOCK + 2 * HIDDEN,
        padded=("token_ids", "padding_mask"),
        dead=KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        models.TransformerEncoderDecoder,
        "shared embeddings, as T5",
        lambda: {"config": tiny_encoder_decoder_config(position="relative_bias", residual="pre_norm")},
        encoder_decoder_inputs,
        parameters=VOCABULARY * HIDDEN + 4 * BLOCK + 2 * (ATTENTION + 2 * HIDDEN) + 2 * 2 * HIDDEN + 2 * 32 * 4,
        padded=BOTH_SIDES,
        dead=KEY_BIAS,
        float32=(False, True, False),
    ),
    Case(
        models.TransformerEncoderDecoder,
        "two tables, as in 2017",
        lambda: {
            "config": tiny_encoder_decoder_config(share_embeddings=False, position="sincos", scale_embeddings=True),
        },
        encoder_decoder_inputs,
        parameters=2 * (VOCABULARY * HIDDEN + 2 * HIDDEN) + 4 * BLOCK + 2 * (ATTENTION + 2 * HIDDEN),
        padded=BOTH_SIDES,
        dead=KEY_BIAS,
        float32=(False, True, False),
    ),
    Case(
        DistributedModel,
        "around a classifier",
        lambda: {"model": tiny_classifier(), "examples_per_step": 8.0, "output": "logits"},
        text_inputs,
        parameters=ENCODER + 2 * HIDDEN + 2,
        padded=TEXT,
        dead=KEY_BIAS,
        float32=True,
    ),
]
