"""GPT-2 (Radford et al., 2019)."""

from typing import Any

from keras_transformer.models import DecoderConfig
from keras_transformer.pretrained.families.bert import PRESET_FIELDS
from keras_transformer.pretrained.families.family import (
    PRESET_LAYERS,
    Family,
    Preset,
    merged,
    read_fields,
    refuse_variants,
    write_fields,
)
from keras_transformer.pretrained.layouts import AS_IS, SIDE_BY_SIDE
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 50257),
    ("hidden_dim", "n_embd", 768),
    ("num_layers", "n_layer", 12),
    ("max_length", "n_positions", 1024),
    ("dropout", "resid_pdrop", 0.1),
    ("attention.num_heads", "n_head", 12),
    ("attention.dropout", "attn_pdrop", 0.1),
    ("attention.scaled", "scale_attn_weights", True),
    ("feed_forward.intermediate_dim", "n_inner", None),
    ("feed_forward.activation", "activation_function", "gelu_new"),
    ("norm.epsilon", "layer_norm_epsilon", 1e-5),
    ("initializer_range", "initializer_range", 0.02),
)
# Its matrices are stored as (in, out), and one of them holds queries, keys and values.
BLOCK = {
    "attention_norm": ("ln_1", None),
    "attention.output_projection": ("attn.c_proj", AS_IS),
    "feed_forward_norm": ("ln_2", None),
    "feed_forward.intermediate": ("mlp.c_fc", AS_IS),
    "feed_forward.output_projection": ("mlp.c_proj", AS_IS),
}
PROJECTIONS = ("attention.query", "attention.key", "attention.value")


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `GPT2Config`."""
    refuse_variants("gpt2", values, {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False})
    config = merged(read_fields(values, FIELDS), {"residual": "pre_norm"})
    if config["feed_forward"]["intermediate_dim"] is None:
        config["feed_forward"]["intermediate_dim"] = 4 * config["hidden_dim"]
    return config


def to_huggingface(config: DecoderConfig) -> dict[str, Any]:
    """Translates to `GPT2Config`."""
    return write_fields(config, FIELDS) | {"embd_pdrop": config.dropout, "tie_word_embeddings": config.tie_embeddings}


def rows(config: DecoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    copies = ("lm_head",) if config.tie_embeddings else ()
    table = [
        Row("embeddings.tokens.table", "transformer.wte", "token_embedding", copies=copies),
        Row("positions.table", "transformer.wpe", "position_embedding"),
    ]
    for i in range(config.num_layers):
        ours, theirs, preset = f"blocks.{i}", f"transformer.h.{i}", f"transformer_layer_{i}"
        fused = " ".join(f"{ours}.{name}" for name in PROJECTIONS)
        table.append(Row(fused, f"{theirs}.attn.c_attn", layout=SIDE_BY_SIDE))
        table += [Row(f"{ours}.{layer}", "", f"{preset}/{PRESET_LAYERS[layer]}") for layer in PROJECTIONS]
        table += [
            Row(f"{ours}.{layer}", f"{theirs}.{name}", f"{preset}/{PRESET_LAYERS[layer]}", layout)
            for layer, (name, layout) in BLOCK.items()
        ]
    table.append(Row("final_norm", "transformer.ln_f", "layer_norm"))
    return table if config.tie_embeddings else [*table, Row("head", "lm_head")]


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `GPT2Backbone`, which fixes the tanh form of gelu and the epsilon."""
    fixed = {"residual": "pre_norm", "feed_forward": {"activation": "gelu_tanh"}, "norm": {"epsilon": 1e-5}}
    return merged(read_fields(config, PRESET_FIELDS), fixed)


FAMILY = Family(
    model_type="gpt2",
    kind="decoder",
    architecture="GPT2LMHeadModel",
    prefix="transformer.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    unused=r"h\.\d+\.attn\.(masked_)?bias$|(score|classifier|qa_outputs|multiple_choice_head\.\w+)\.",
    token_ids={"bos_token_id": None, "eos_token_id": None},
    preset=Preset("GPT2Backbone", from_preset),
)
