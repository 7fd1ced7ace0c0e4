"""BART (Lewis et al., arXiv 1910.13461)."""

from typing import Any

from keras_transformer.models import EncoderDecoderConfig
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
from keras_transformer.pretrained.layouts import UnusedRows, Zeros
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 50265),
    ("hidden_dim", "d_model", 1024),
    ("max_length", "max_position_embeddings", 1024),
    ("dropout", "dropout", 0.1),
    ("attention.dropout", "attention_dropout", 0.0),
    ("feed_forward.activation", "activation_function", "gelu"),
    ("feed_forward.dropout", "activation_dropout", 0.0),
    ("scale_embeddings", "scale_embedding", False),
    ("initializer_range", "init_std", 0.02),
)
SIDE_FIELDS = (
    ("num_layers", "{}_layers", 12),
    ("attention.num_heads", "{}_attention_heads", 16),
    ("feed_forward.intermediate_dim", "{}_ffn_dim", 4096),
)
FIXED = {"norm": {"epsilon": 1e-5}}
SIDES = {"encoder": {"num_segments": 0}, "decoder": {"cross_attention": True}}
BLOCK = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output_projection": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed_forward.intermediate": "fc1",
    "feed_forward.output_projection": "fc2",
    "feed_forward_norm": "final_layer_norm",
}
CROSS = {
    "encoder_attention.query": "encoder_attn.q_proj",
    "encoder_attention.key": "encoder_attn.k_proj",
    "encoder_attention.value": "encoder_attn.v_proj",
    "encoder_attention.output_projection": "encoder_attn.out_proj",
    "encoder_attention_norm": "encoder_attn_layer_norm",
}


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `BartConfig`, which fixes the epsilon."""
    plain = {"normalize_before": False, "add_final_layer_norm": False, "normalize_embedding": True}
    refuse_variants("bart", values, plain | {"tie_word_embeddings": True, "is_decoder": False})
    common = merged(read_fields(values, FIELDS), FIXED)
    return {side: merged(common, read_fields(values, _fields(side)), more) for side, more in SIDES.items()}


def _fields(side: str) -> tuple:
    return tuple((ours, name.format(side), default) for ours, name, default in SIDE_FIELDS)


def to_huggingface(config: EncoderDecoderConfig) -> dict[str, Any]:
    """Translates to `BartConfig`."""
    values = write_fields(config.encoder, FIELDS) | {"is_encoder_decoder": True, "tie_word_embeddings": True}
    for side in SIDES:
        values |= write_fields(getattr(config, side), _fields(side))
    return values


def rows(config: EncoderDecoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights; the first two positions of each table are never read."""
    copies = ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
    table = [Row("encoder.embeddings.tokens.table", "model.shared", "token_embedding", copies=copies)]
    for side in SIDES:
        table += [
            Row(
                f"{side}.positions.table",
                f"model.{side}.embed_positions",
                f"{side}_position_embedding",
                UnusedRows(2),
            ),
            Row(f"{side}.embeddings.norm", f"model.{side}.layernorm_embedding", f"{side}_embeddings_layer_norm"),
        ]
        layers = BLOCK | CROSS if side == "decoder" else BLOCK
        for i in range(getattr(config, side).num_layers):
            preset = f"transformer_{side}_layer_{i}"
            table += [
                Row(f"{side}.blocks.{i}.{ours}", f"model.{side}.layers.{i}.{theirs}", f"{preset}/{PRESET_LAYERS[ours]}")
                for ours, theirs in layers.items()
            ]
    zeros = Zeros((1, config.encoder.vocabulary_size))
    return [*table, Row("", "final_logits_bias", layout=zeros, needed=False)]


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `BartBackbone`, which fixes the exact form of gelu and the epsilon."""
    common = merged(read_fields(config, PRESET_FIELDS), FIXED, {"feed_forward": {"activation": "gelu"}})
    return {side: merged(common, more) for side, more in SIDES.items()}


FAMILY = Family(
    model_type="bart",
    kind="encoder_decoder",
    architecture="BartForConditionalGeneration",
    prefix="model.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    unused=r"(encoder|decoder)\.version$|(classification_head\.\w+|qa_outputs)\.",
    token_ids={
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    },
    preset=Preset("BartBackbone", from_preset),
)
