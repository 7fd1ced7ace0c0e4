"""Builds our models from pretrained folders, with every stored tensor used or named."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from keras_transformer.models import (
    EncoderDecoderConfig,
    TransformerConfig,
    TransformerDecoder,
    TransformerEncoder,
    TransformerEncoderDecoder,
)
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.huggingface import HuggingFaceFolder
from keras_transformer.pretrained.keras_hub import KerasHubPreset
from keras_transformer.pretrained.layouts import Shape
from keras_transformer.pretrained.sources import check_folder
from keras_transformer.pretrained.tables import Config, side_of, variable_at

MODELS = {
    "encoder": TransformerEncoder,
    "decoder": TransformerDecoder,
    "encoder_decoder": TransformerEncoderDecoder,
}
Source = HuggingFaceFolder | KerasHubPreset
logger = logging.getLogger(__name__)


def load_model(
    path: str | os.PathLike[str],
    *,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    max_length: int | None = None,
    num_layers: int | None = None,
    pooler: bool | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> TransformerEncoder | TransformerDecoder | TransformerEncoderDecoder:
    """Loads a Hugging Face folder or a keras-nlp preset folder, exactly; what it holds decides what model it becomes.

    Tensors that the model has no place for are named in a log line.

    Args:
        path: The folder, such as `resolve` returns.
        dropout: Dropout rate of embeddings and sublayers. Default: that of the checkpoint.
        attention_dropout: Dropout rate of the attention weights. Default: that of the checkpoint.
        max_length: Number of positions to keep, in tokens, at most those of the checkpoint. Default: all.
        num_layers: Number of blocks to keep, from the first, at most those of the checkpoint; of an encoder-decoder, on
            each side. Default: all.
        pooler: Whether an encoder has a pooler. Default: as the checkpoint. A model with mean pooling never uses it,
            so pass False there.
        dtype: Dtype policy of the layers. Default: the global one.
        name: Name of the model. Default: "encoder", "decoder" or "encoder_decoder".

    Returns:
        A `TransformerEncoder`, `TransformerDecoder` or `TransformerEncoderDecoder` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: If the folder or a file in it is missing.
        ValueError: If the architecture is none that we have, a file is damaged or refused, or a tensor is missing or
            has a shape that does not fit the configuration; the message names it.

    Example:
        ```python
        from keras_transformer import pretrained

        model = pretrained.load_model(pretrained.resolve("minilm"), max_length=128, pooler=False)
        print(type(model).__name__)
        ```
    """
    source = open_source(path)
    if pooler is not None and source.family.kind != "encoder":
        raise ValueError(
            f"Only an encoder can have a pooler, not {source.family.model_type}. Received: pooler={pooler}"
        )
    options = {
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "max_length": max_length,
        "num_layers": num_layers,
        "pooler": pooler,
    }
    return build(source, options, dtype, name or source.family.kind)


def load_encoder(path: str | os.PathLike[str], *, name: str = "encoder", **options: Any) -> TransformerEncoder:
    """Loads an encoder: BERT, DistilBERT, RoBERTa, ELECTRA or ALBERT.

    Args:
        path: The folder, such as `resolve` returns.
        name: Name of the model. Default "encoder".
        **options: `dropout`, `attention_dropout`, `max_length`, `num_layers`, `pooler` and `dtype` of `load_model`.

    Returns:
        A `TransformerEncoder` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: As `load_model`.
        ValueError: As `load_model`, and if the folder holds no encoder alone.

    Example:
        ```python
        from keras_transformer import pretrained

        encoder = pretrained.load_encoder(pretrained.resolve("minilm"), max_length=128, pooler=False)
        print(encoder.config.hidden_dim)
        ```
    """
    return _load(path, "encoder", name, options)


def load_decoder(path: str | os.PathLike[str], *, name: str = "decoder", **options: Any) -> TransformerDecoder:
    """Loads a decoder: GPT-2 or Llama.

    Args:
        path: The folder, such as `resolve` returns.
        name: Name of the model. Default "decoder".
        **options: `dropout`, `attention_dropout`, `max_length`, `num_layers` and `dtype` of `load_model`.

    Returns:
        A `TransformerDecoder` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: As `load_model`.
        ValueError: As `load_model`, and if the folder holds no decoder alone.

    Example:
        ```python
        import tempfile

        from keras_transformer import pretrained
        from keras_transformer.layers import NormConfig
        from keras_transformer.models import DecoderConfig, TransformerDecoder

        config = DecoderConfig(
            vocabulary_size=50, num_layers=1, max_length=16, residual="pre_norm", norm=NormConfig(1e-5)
        )
        with tempfile.TemporaryDirectory() as folder:
            pretrained.save_huggingface(TransformerDecoder(config), None, f"{folder}/gpt2")
            print(pretrained.load_decoder(f"{folder}/gpt2").config == config)
        ```
    """
    return _load(path, "decoder", name, options)


def load_encoder_decoder(
    path: str | os.PathLike[str], *, name: str = "encoder_decoder", **options: Any
) -> TransformerEncoderDecoder:
    """Loads an encoder-decoder: T5 (1.0 and 1.1) or BART.

    Args:
        path: The folder, such as `resolve` returns.
        name: Name of the model. Default "encoder_decoder".
        **options: `dropout`, `attention_dropout`, `max_length`, `num_layers` and `dtype` of `load_model`.

    Returns:
        A `TransformerEncoderDecoder` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: As `load_model`.
        ValueError: As `load_model`, and if the folder holds no encoder-decoder.

    Example:
        ```python
        import tempfile

        from keras_transformer import pretrained
        from keras_transformer.layers import NormConfig
        from keras_transformer.models import DecoderConfig, EncoderConfig, EncoderDecoderConfig
        from keras_transformer.models import TransformerEncoderDecoder

        sizes = dict(vocabulary_size=50, num_layers=1, max_length=16, norm=NormConfig(1e-5))
        config = EncoderDecoderConfig(
            EncoderConfig(num_segments=0, **sizes), DecoderConfig(cross_attention=True, **sizes)
        )
        with tempfile.TemporaryDirectory() as folder:
            pretrained.save_huggingface(TransformerEncoderDecoder(config), None, f"{folder}/bart")
            print(pretrained.load_encoder_decoder(f"{folder}/bart").config == config)
        ```
    """
    return _load(path, "encoder_decoder", name, options)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Opens a pretrained folder of either format."""
    folder = check_folder(Path(path).expanduser())
    values = read_json(folder / "config.json")
    if "registered_name" in values or "class_name" in values:
        return KerasHubPreset(folder)
    return HuggingFaceFolder(folder)


def build(source: Source, options: dict[str, Any], dtype: Any, name: str, head: tuple[str, ...] = ()) -> Any:
    """Builds the model of a folder and fills it; `head` names what the caller reads itself."""
    stored = source.config(pooler=source.has_pooler)
    config = _change(stored, options)
    model = MODELS[source.family.kind](config, dtype=dtype, name=name)
    weights = source.weights(config)
    filled = set()
    for weight in weights:
        variables = [variable_at(model, path) for path in weight.ours]
        shapes = [_stored_shape(path, v, stored) for path, v in zip(weight.ours, variables, strict=True)]
        for variable, value in zip(variables, source.read(weight, shapes), strict=True):
            variable.assign(value[: variable.shape[0]])
            filled.add(id(variable))
    empty = [variable.path for variable in model.weights if id(variable) not in filled]
    if empty:
        raise ValueError(
            f"{source.family.model_type!r} has no weights for {', '.join(empty)}. Received: {source.folder}"
        )
    _name_unused(source, weights, source.weights(stored), head)
    return model


def _load(path: str | os.PathLike[str], kind: str, name: str, options: dict[str, Any]) -> Any:
    source = open_source(path)
    if source.family.kind != kind:
        raise ValueError(
            f"load_{kind} does not load {source.family.model_type!r}: use load_{source.family.kind}, or load_model for "
            f"whatever the folder holds. Received: {source.folder}"
        )
    return load_model(path, name=name, **options)


def _stored_shape(path: str, variable: Any, stored: Config) -> Shape:
    """Returns the shape that our variable has before positions are cut off."""
    side = side_of(path, stored)
    if path.endswith("positions.table") and side.position.scheme == "learned":
        return (side.max_length, *variable.shape[1:])
    return tuple(variable.shape)


def _name_unused(source: Source, weights: list, of_stored: list, head: tuple[str, ...]) -> None:
    used = {name for weight in weights for name in source.names_of(weight)} | set(head)
    asked = {
        name for weight in of_stored for name in source.names_of(weight)
    }  # fewer blocks or no pooler were asked for
    left = [plain for plain in source.names if plain not in used]
    usual = [source.names[plain] for plain in left if plain in asked or source.usually_unused(plain)]
    strange = [source.names[plain] for plain in left if source.names[plain] not in usual]
    if usual:
        logger.info("%s: not used: %s", source.folder, ", ".join(usual))
    if strange:
        logger.warning("%s: unexpected, not used: %s", source.folder, ", ".join(strange))


def _change(stored: Config, options: dict[str, Any]) -> Config:
    """Returns the config of the checkpoint with the options that are not None."""
    if isinstance(stored, EncoderDecoderConfig):
        sides = {side: _change_side(getattr(stored, side), options) for side in ("encoder", "decoder")}
        return dataclasses.replace(stored, **sides)
    return _change_side(stored, options)


def _change_side(stored: TransformerConfig, options: dict[str, Any]) -> TransformerConfig:
    changes = {key: value for key, value in options.items() if value is not None}
    for key in ("max_length", "num_layers"):
        if key in changes and changes[key] > getattr(stored, key):
            raise ValueError(
                f"{key} can be at most that of the checkpoint, {getattr(stored, key)}. Received: {changes[key]}"
            )
    if "attention_dropout" in changes:
        changes["attention"] = dataclasses.replace(stored.attention, dropout=changes.pop("attention_dropout"))
    return dataclasses.replace(stored, **changes)
