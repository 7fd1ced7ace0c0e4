"""RoBERTa (Liu et al., arXiv 1907.11692): BERT whose positions count from the id of the padding token plus one."""

import dataclasses
from typing import Any

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained.families import bert
from keras_transformer.pretrained.families.family import (
    Classifier,
    Family,
    MaskedHead,
    Preset,
    merged,
    read_fields,
    refuse_variants,
    write_fields,
)
from keras_transformer.pretrained.layouts import UnusedRows
from keras_transformer.pretrained.tables import Row

FIELDS = tuple((ours, name, 50265 if name == "vocab_size" else default) for ours, name, default in bert.FIELDS)


def from_huggingface(values: dict[str, Any]) -> dict[str, Any]:
    """Translates `RobertaConfig`."""
    refuse_variants("roberta", values, bert.PLAIN)
    config = read_fields(values, FIELDS)
    return config | {"max_length": config["max_length"] - _unused_rows(values)}


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates to `RobertaConfig`; the padding token is that of all published models."""
    values = write_fields(config, FIELDS) | {"type_vocab_size": config.num_segments or 1, "pad_token_id": 1}
    return values | {"max_position_embeddings": config.max_length + _unused_rows(values)}


def rows(config: EncoderConfig, values: dict[str, Any]) -> list[Row]:
    """Returns the table of weights."""
    presets = {
        "embeddings.tokens.table": "embeddings/token_embedding",
        "positions.table": "embeddings/position_embedding",
    }
    table = bert.rows(config, values)
    table = [dataclasses.replace(row, preset=presets.get(row.ours, row.preset)) for row in table]
    offset = UnusedRows(_unused_rows(values))
    return [dataclasses.replace(row, layout=offset) if row.ours == "positions.table" else row for row in table]


def from_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Translates `RobertaBackbone`, which has no unused positions."""
    fixed = {"num_segments": 0, "feed_forward": {"activation": "gelu"}, "norm": {"epsilon": 1e-5}}
    return merged(read_fields(config, bert.PRESET_FIELDS), fixed)


def _unused_rows(values: dict[str, Any]) -> int:
    padding = values.get("pad_token_id", 1)
    return 1 + (1 if padding is None else padding)


FAMILY = Family(
    model_type="roberta",
    kind="encoder",
    architecture="RobertaModel",
    prefix="roberta.",
    from_huggingface=from_huggingface,
    to_huggingface=to_huggingface,
    rows=rows,
    pooler="pooler.dense",
    segments=True,
    counts_from_padding=True,
    classifier=Classifier("RobertaForSequenceClassification", head="classifier.out_proj", pooler="classifier.dense"),
    masked_head=MaskedHead(
        "RobertaForMaskedLM",
        dense="lm_head.dense",
        norm="lm_head.layer_norm",
        bias="lm_head.bias",
        decoder="lm_head.decoder",
        activation="gelu",
    ),
    unused=r"(lm_head|classifier|qa_outputs)\.",
    token_ids={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    preset=Preset("RobertaBackbone", from_preset),
)
