"""ELECTRA (Clark et al., arXiv 2003.10555): BERT with narrow embeddings and without a pooler."""

from typing import Any

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained.families import bert
from keras_transformer.pretrained.families.family import (
    Family,
    MaskedHead,
    Preset,
    merged,
    read_fields,
    refuse_variants,
    write_fields,
)
from keras_transformer.pretrained.tables import Row

_DEFAULTS = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
FIELDS = tuple((ours, name, _DEFAULTS.get(name, default)) for ours, name, default in bert.FIELDS)


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `ElectraConfig`; there is a projection only where the widths differ."""
    refuse_variants("electra", values, bert.PLAIN)
    return _projected(read_fields(values, (*FIELDS, ("embedding_dim", "embedding_size", 128))))


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates to `ElectraConfig`."""
    width = config.embedding_dim or config.hidden_dim
    return write_fields(config, FIELDS) | {"type_vocab_size": config.num_segments or 1, "embedding_size": width}


def rows(config: EncoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights; only a preset has a pooler."""
    table = bert.encoder_rows(config)
    if config.embedding_dim is not None:
        table.append(Row("embeddings.projection", "embeddings_project", "embeddings_projection"))
    return table + ([Row("pooler", "", "pooled_dense")] if config.pooler else [])


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `ElectraBackbone`, which calls its vocabulary differently."""
    fields = (*bert.PRESET_FIELDS[1:], ("vocabulary_size", "vocab_size", None), ("num_segments", "num_segments", 2))
    fixed = {"feed_forward": {"activation": "gelu_tanh"}, "norm": {"epsilon": 1e-12}}
    return _projected(merged(read_fields(config, (*fields, ("embedding_dim", "embedding_dim", None))), fixed))


def _projected(config: dict[str, Any]) -> dict[str, Any]:
    same = config["embedding_dim"] == config["hidden_dim"]
    return config | {"embedding_dim": None if same else config["embedding_dim"]}


FAMILY = Family(
    model_type="electra",
    kind="encoder",
    architecture="ElectraModel",
    prefix="electra.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    segments=True,
    masked_head=MaskedHead(
        "ElectraForMaskedLM",
        dense="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        bias="generator_lm_head.bias",
        decoder="generator_lm_head",
        activation="gelu",
    ),
    unused=r"(discriminator_predictions|generator_\w+|classifier|qa_outputs|sequence_summary\.\w+)\.",
    token_ids={"pad_token_id": 0},
    preset=Preset("ElectraBackbone", from_preset, pooler=True),
)
