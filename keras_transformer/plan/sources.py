"""The config of the model that is planned: a preset, MiniLM, a folder with a `config.json`, or sizes."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from keras_transformer.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    preset,
    resized,
)
from keras_transformer.models.presets import PRESETS
from keras_transformer.plan.stages import AnyConfig

KINDS = ("encoder", "decoder", "encoder_decoder")


def find(model: str | None, kind: str | None = None, sizes: Mapping[str, Any] | None = None) -> AnyConfig:
    """Returns a config.

    Args:
        model: "minilm", the name of a preset, or a folder (or its `config.json`); None for sizes only.
        kind: One of `KINDS`, without a model. Default "encoder".
        sizes: What differs from the model, or from the defaults of the kind: `vocabulary_size`, `hidden_dim`,
            `num_layers`, `max_length`, `num_heads`, `num_key_value_heads`, `intermediate_dim`, `position`.

    Raises:
        ValueError: For an unknown model, or sizes that do not fit each other.

    Example:
        ```python
        from keras_transformer.plan import find

        assert find("bert-base", sizes={"num_layers": 6}).num_layers == 6
        assert find(None, "decoder", {"hidden_dim": 256, "num_heads": 4}).hidden_dim == 256
        ```
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: {kind!r}")
    if model is not None and kind is not None:
        raise ValueError(f"A model has its kind: give only one of them. Received: model={model!r}, kind={kind!r}")
    config = _of_kind(kind or "encoder") if model is None else _named(model)
    sizes = {name: value for name, value in (sizes or {}).items() if value is not None}
    return resized(config, sizes)


def _of_kind(kind: str) -> AnyConfig:
    return {
        "encoder": EncoderConfig,
        "decoder": lambda: DecoderConfig(residual="pre_norm"),
        "encoder_decoder": EncoderDecoderConfig,
    }[kind]()


def _named(model: str) -> AnyConfig:
    if model == "minilm":
        # The published model has no pooler that is read, hence none here.
        return preset("minilm-l6", pooler=False)
    if model in PRESETS:
        return preset(model)
    path = pathlib.Path(model)
    if not path.exists():
        raise ValueError(
            f"The model must be minilm, one of {', '.join(PRESETS)}, or a folder with a config.json. "
            f"Received: {model!r}"
        )
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"The folder has no config.json. Received: {model!r}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold an object. Received: {type(values).__name__}")
    from keras_transformer.pretrained import configs

    return configs.from_huggingface(values, tied=values.get("tie_word_embeddings", True))
