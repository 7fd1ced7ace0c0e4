"""ALBERT (Lan et al., arXiv 1909.11942): one block for all layers, and narrow embeddings."""

from typing import Any

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained.families import bert
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
from keras_transformer.pretrained.tables import Row

_DEFAULTS = {
    "vocab_size": 30000,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
FIELDS = (
    *((ours, name, _DEFAULTS.get(name, default)) for ours, name, default in bert.FIELDS),
    ("embedding_dim", "embedding_size", 128),
)
BLOCK = {
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.output_projection": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "feed_forward.intermediate": "ffn",
    "feed_forward.output_projection": "ffn_output",
    "feed_forward_norm": "full_layer_layer_norm",
}


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `AlbertConfig`."""
    refuse_variants("albert", values, bert.PLAIN | {"inner_group_num": 1})
    return _grouped(read_fields(values, FIELDS), "num_hidden_groups", values.get("num_hidden_groups", 1))


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates to `AlbertConfig`."""
    return write_fields(config, FIELDS) | {
        "type_vocab_size": config.num_segments or 1,
        "num_hidden_groups": 1 if config.share_blocks else config.num_layers,
        "inner_group_num": 1,
    }


def rows(config: EncoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    names = [f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")]
    table = embedding_rows(*names, "embeddings.LayerNorm")
    table.append(Row("embeddings.projection", "encoder.embedding_hidden_mapping_in", "embedding_projection"))
    table += block_rows(
        1 if config.share_blocks else config.num_layers,
        BLOCK,
        prefix="encoder.albert_layer_groups.{}.albert_layers.0",
        preset="group_{}_inner_layer_0",
    )
    table = bert.segment_rows(table, config)
    return table + ([Row("pooler", "pooler", "pooled_dense")] if config.pooler else [])


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `AlbertBackbone`."""
    refuse_variants("albert", config, {"num_inner_repetitions": 1})
    more = (("num_segments", "num_segments", 2), ("embedding_dim", "embedding_dim", None))
    fixed = {"feed_forward": {"activation": "gelu_tanh"}, "norm": {"epsilon": 1e-12}}
    translated = merged(read_fields(config, (*bert.PRESET_FIELDS, *more)), fixed)
    return _grouped(translated, "num_groups", config.get("num_groups", 1))


def _grouped(config: dict[str, Any], field: str, groups: int) -> dict[str, Any]:
    if groups not in (1, config["num_layers"]):
        raise ValueError(
            f"Only ALBERTs with one block for all layers, or one for each, can be loaded: {field} of 1 or "
            f"{config['num_layers']}. Received: {field}={groups}"
        )
    return config | {"share_blocks": groups == 1}


FAMILY = Family(
    model_type="albert",
    kind="encoder",
    architecture="AlbertModel",
    prefix="albert.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    pooler="pooler",
    segments=True,
    classifier=Classifier("AlbertForSequenceClassification", dropout="classifier_dropout_prob"),
    masked_head=MaskedHead(
        "AlbertForMaskedLM",
        dense="predictions.dense",
        norm="predictions.LayerNorm",
        bias="predictions.bias",
        decoder="predictions.decoder",
    ),
    unused=r"(predictions|sop_classifier|classifier|qa_outputs)\.",
    token_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    preset=Preset("AlbertBackbone", from_preset, pooler=True),
)
