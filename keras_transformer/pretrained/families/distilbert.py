"""DistilBERT (Sanh et al., arXiv 1910.01108): BERT without segments and pooler."""

from typing import Any

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained.families.bert import PRESET_FIELDS
from keras_transformer.pretrained.families.family import (
    Family,
    MaskedHead,
    Preset,
    block_rows,
    merged,
    read_fields,
    write_fields,
)
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 30522),
    ("hidden_dim", "dim", 768),
    ("num_layers", "n_layers", 6),
    ("max_length", "max_position_embeddings", 512),
    ("dropout", "dropout", 0.1),
    ("attention.num_heads", "n_heads", 12),
    ("attention.dropout", "attention_dropout", 0.1),
    ("feed_forward.intermediate_dim", "hidden_dim", 3072),
    ("feed_forward.activation", "activation", "gelu"),
    ("initializer_range", "initializer_range", 0.02),
)
BLOCK = {
    "attention.query": "attention.q_lin",
    "attention.key": "attention.k_lin",
    "attention.value": "attention.v_lin",
    "attention.output_projection": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "feed_forward.intermediate": "ffn.lin1",
    "feed_forward.output_projection": "ffn.lin2",
    "feed_forward_norm": "output_layer_norm",
}


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `DistilBertConfig`, which fixes the epsilon; sinusoidal positions are stored like learned ones."""
    return merged(read_fields(values, FIELDS), {"num_segments": 0, "norm": {"epsilon": 1e-12}})


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates to `DistilBertConfig`."""
    return write_fields(config, FIELDS)


def rows(config: EncoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    preset = "token_and_position_embedding"
    return [
        Row("embeddings.tokens.table", "embeddings.word_embeddings", f"{preset}/token_embedding"),
        Row("positions.table", "embeddings.position_embeddings", f"{preset}/position_embedding"),
        Row("embeddings.norm", "embeddings.LayerNorm", "embeddings_layer_norm"),
        *block_rows(config.num_layers, BLOCK, prefix="transformer.layer.{}", preset="transformer_layer_{}"),
    ]


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `DistilBertBackbone`."""
    fixed = {"num_segments": 0, "feed_forward": {"activation": "gelu"}, "norm": {"epsilon": 1e-12}}
    return merged(read_fields(config, PRESET_FIELDS), fixed)


FAMILY = Family(
    model_type="distilbert",
    kind="encoder",
    architecture="DistilBertModel",
    prefix="distilbert.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    masked_head=MaskedHead(
        "DistilBertForMaskedLM",
        dense="vocab_transform",
        norm="vocab_layer_norm",
        bias="vocab_projector.bias",
        decoder="vocab_projector",
    ),
    unused=r"(vocab_\w+|pre_classifier|classifier|qa_outputs)\.",
    token_ids={"pad_token_id": 0},
    preset=Preset("DistilBertBackbone", from_preset),
)
