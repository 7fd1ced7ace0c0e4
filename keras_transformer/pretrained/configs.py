"""From a `config.json` to our config, and from our config to the family that has a counterpart of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_transformer.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    PositionConfig,
    TransformerConfig,
)
from keras_transformer.pretrained.families import FAMILIES, Family, family_named
from keras_transformer.pretrained.families.family import refuse_variants
from keras_transformer.pretrained.tables import Config

CONFIGS = {"encoder": EncoderConfig, "decoder": DecoderConfig, "encoder_decoder": EncoderDecoderConfig}
_PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
# They change what training does, not what a model computes.
_FREE = {"dropout", "stochastic_depth", "initializer_range", "mask_fill", "pooler"}
# What else a position scheme reads of its config; `max_length` counts where there is a table of so many positions.
_OF_SCHEME = {
    "learned": ("max_length",),
    "sincos": ("max_length",),
    "rotary": ("theta", "scaling", "factor", "rotary_dim"),
    "relative_bias": ("num_buckets", "max_distance"),
    "relative_keys": ("max_distance",),
}


def from_huggingface(values: Mapping[str, Any], *, pooler: bool = False, tied: bool = True) -> Config:
    """Translates the contents of a Hugging Face `config.json`.

    Args:
        values: The contents. Missing fields take the defaults of transformers.
        pooler: Whether an encoder shall have a pooler; `config.json` does not say.
        tied: Whether a decoder's logits come from its embeddings; the stored tensors have the last word on it.

    Returns:
        The config of an encoder, a decoder or both.

    Raises:
        ValueError: If the model is of another architecture, or of a variant that our models do not have.
    """
    family = family_named(values.get("model_type"))
    refuse_variants(family.model_type, values, {"quantization_config": None})
    return to_config(family, family.from_huggingface(dict(values)), pooler=pooler, tied=tied)


def to_config(family: Family, nested: Mapping[str, Any], *, pooler: bool, tied: bool) -> Config:
    """Returns our config from the nested dict of a family, completed by what the stored tensors say."""
    if family.kind == "encoder":
        nested = nested | {"pooler": pooler}
    elif family.kind == "decoder":
        nested = nested | {"tie_embeddings": tied}
    else:
        nested = nested | {"decoder": nested["decoder"] | {"tie_embeddings": tied}}
    return CONFIGS[family.kind].from_dict(nested)


def to_huggingface(config: Config, model_type: str | None = None) -> tuple[Family, dict[str, Any]]:
    """Finds the family that has a counterpart of a model, and translates its config.

    Args:
        config: Config of the model.
        model_type: The family; None for the first that fits.

    Returns:
        Pair of the family and the contents of a `config.json`.

    Raises:
        ValueError: If the family, or every one, lacks a counterpart; the message says what of.
    """
    kind = next(name for name, cls in CONFIGS.items() if isinstance(config, cls))
    families = [family for family in FAMILIES.values() if family.kind == kind]
    if model_type is not None:
        families = [family_named(model_type)]
        if families[0].kind != kind:
            raise ValueError(
                f"model_type {model_type!r} is not one of {_words(kind)}. Received: {type(config).__name__}"
            )
    reasons = []
    for family in families:
        values = {"model_type": family.model_type} | family.to_huggingface(config)
        reason = _difference(config, family, values)
        if reason is None:
            return family, values
        reasons.append(f"{reason}, not in {family.model_type}")
    raise ValueError(f"Hugging Face has no counterpart of this {_words(kind)}. Received: {'; '.join(reasons)}")


def _words(kind: str) -> str:
    return kind.replace("_", "-")


def _difference(config: Config, family: Family, values: dict[str, Any]) -> str | None:
    """Returns what of a config is lost on the way to a family and back, such as "residual='pre_norm'", or None."""
    if family.kind == "encoder":
        if config.pooler and not family.pooler:
            return "pooler=True"
        if family.segments:
            config = dataclasses.replace(config, num_segments=config.num_segments or 1)
    tied = getattr(config, "decoder", config)
    try:
        back = from_huggingface(values, tied=getattr(tied, "tie_embeddings", True))
    except ValueError as error:
        return f"a config that it refuses ({error})"
    ours, theirs = _meaning(config), _meaning(back)
    for path, value in ours.items():
        if theirs.get(path) != value:
            return f"{path}={value!r}"
    return None


def _meaning(config: Config) -> dict[str, Any]:
    """Returns what a config means for the result, by path, with every default filled in."""
    if isinstance(config, EncoderDecoderConfig):
        sides = {side: _meaning(getattr(config, side)) for side in ("encoder", "decoder")}
        flat = {f"{side}.{path}": value for side, values in sides.items() for path, value in values.items()}
        return flat | {"share_embeddings": config.share_embeddings}
    filled = _filled(config)
    ignored = _FREE | {"max_length"} - set(_OF_SCHEME.get(config.position.scheme, ()))
    flat = {}
    for name, value in vars(filled).items():
        if dataclasses.is_dataclass(value):
            fields = vars(value)
            if isinstance(value, PositionConfig):
                fields = {key: fields[key] for key in ("scheme", *_OF_SCHEME.get(value.scheme, ())) if key in fields}
            flat |= {f"{name}.{key}": part for key, part in fields.items() if key not in _FREE}
        elif name not in ignored:
            flat[name] = value
    return flat


def _filled(config: TransformerConfig) -> TransformerConfig:
    attention, position = config.attention, config.position
    width = attention.head_width(config.hidden_dim)
    key_heads = attention.num_key_value_heads or attention.num_heads
    if position.scheme == "rotary":
        position = dataclasses.replace(position, rotary_dim=position.rotary_dim or width)
        if position.scaling == "ntk":
            theta = position.theta * position.factor ** (width / (width - 2) if width > 2 else 0)
            position = dataclasses.replace(position, theta=theta, scaling="none", factor=1.0)
    return dataclasses.replace(
        config,
        attention=dataclasses.replace(attention, head_dim=width, num_key_value_heads=key_heads),
        position=position,
        embedding_norm=config.normalises_embeddings,
        final_norm=config.normalises_output,
        share_blocks=config.share_blocks and config.num_layers > 1,
    )


def kind_from_huggingface(values: dict[str, Any], num_outputs: int) -> str:
    """Returns our name of a checkpoint's `problem_type`; without one, transformers' own rule for the number of labels.

    Args:
        values: Contents of `config.json`.
        num_outputs: Number of outputs of the head.

    Returns:
        "single_label", "multi_label" or "regression".

    Raises:
        ValueError: For an unknown problem type.
    """
    problem = values.get("problem_type")
    if problem is None:
        return "regression" if num_outputs == 1 else "single_label"
    for kind, name in _PROBLEM_TYPES.items():
        if problem == name:
            return kind
    raise ValueError(f"problem_type must be one of {', '.join(_PROBLEM_TYPES.values())}. Received: {problem!r}")


def kind_to_huggingface(kind: str) -> str:
    """Returns transformers' `problem_type` of "single_label", "multi_label" or "regression"."""
    return _PROBLEM_TYPES[kind]
