"""BERT (Devlin et al., arXiv 1810.04805), and what the encoders that descend from it have in common."""

from typing import Any

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained.families.family import (
    Classifier,
    Family,
    MaskedHead,
    Preset,
    block_rows,
    embedding_rows,
    merged,
    read_fields,
    refuse_variants,
    write_fields,
)
from keras_transformer.pretrained.layouts import Zeros
from keras_transformer.pretrained.tables import Row

FIELDS = (
    ("vocabulary_size", "vocab_size", 30522),
    ("hidden_dim", "hidden_size", 768),
    ("num_layers", "num_hidden_layers", 12),
    ("max_length", "max_position_embeddings", 512),
    ("num_segments", "type_vocab_size", 2),
    ("dropout", "hidden_dropout_prob", 0.1),
    ("attention.num_heads", "num_attention_heads", 12),
    ("attention.dropout", "attention_probs_dropout_prob", 0.1),
    ("feed_forward.intermediate_dim", "intermediate_size", 3072),
    ("feed_forward.activation", "hidden_act", "gelu"),
    ("norm.epsilon", "layer_norm_eps", 1e-12),
    ("initializer_range", "initializer_range", 0.02),
)
PLAIN = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
PRESET_FIELDS = (
    ("vocabulary_size", "vocabulary_size", None),
    ("hidden_dim", "hidden_dim", None),
    ("num_layers", "num_layers", None),
    ("max_length", "max_sequence_length", 512),
    ("dropout", "dropout", 0.1),
    ("attention.num_heads", "num_heads", None),
    ("attention.dropout", "dropout", 0.1),
    ("feed_forward.intermediate_dim", "intermediate_dim", None),
)
BLOCK = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output_projection": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.intermediate": "intermediate.dense",
    "feed_forward.output_projection": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
POOLER = Row("pooler", "pooler.dense", "pooled_dense")


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `BertConfig`."""
    refuse_variants("bert", values, PLAIN)
    return read_fields(values, FIELDS)


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates to `BertConfig`."""
    # BERT always has segments: one row of zeros stands for none.
    return write_fields(config, FIELDS) | {"type_vocab_size": config.num_segments or 1}


def encoder_rows(config: EncoderConfig) -> list[Row]:
    """Returns the rows of embeddings and blocks under BERT's names."""
    names = [f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")]
    rows = embedding_rows(*names, "embeddings.LayerNorm")
    rows += block_rows(config.num_layers, BLOCK, prefix="encoder.layer.{}", preset="transformer_layer_{}")
    return segment_rows(rows, config)


def segment_rows(rows: list[Row], config: EncoderConfig) -> list[Row]:
    """Returns the rows with zeros in the place of the segments, if there are none."""
    if config.num_segments:
        return rows
    zeros = Zeros((1, config.embedding_dim or config.hidden_dim))
    return [Row("", f"{row.theirs}.weight", layout=zeros) if "segment" in row.ours else row for row in rows]


def rows(config: EncoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    return encoder_rows(config) + ([POOLER] if config.pooler else [])


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `BertBackbone`, which fixes the tanh form of gelu and the epsilon."""
    fixed = {"feed_forward": {"activation": "gelu_tanh"}, "norm": {"epsilon": 1e-12}}
    return merged(read_fields(config, (*PRESET_FIELDS, ("num_segments", "num_segments", 2))), fixed)


FAMILY = Family(
    model_type="bert",
    kind="encoder",
    architecture="BertModel",
    prefix="bert.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    pooler="pooler.dense",
    segments=True,
    classifier=Classifier("BertForSequenceClassification"),
    masked_head=MaskedHead(
        "BertForMaskedLM",
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        bias="cls.predictions.bias",
        decoder="cls.predictions.decoder",
    ),
    unused=r"(cls|classifier|qa_outputs)\.",
    token_ids={"pad_token_id": 0},
    preset=Preset("BertBackbone", from_preset, pooler=True),
)
