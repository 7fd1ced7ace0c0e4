"""Writes a model as a Hugging Face folder that transformers loads."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from safetensors.numpy import save_file

from keras_transformer import _files
from keras_transformer.models import MaskedLanguageModel, TextClassifier
from keras_transformer.pretrained import configs
from keras_transformer.pretrained.families import Family
from keras_transformer.pretrained.huggingface import OUR_HEAD, OUR_SECTION
from keras_transformer.pretrained.loading import MODELS
from keras_transformer.pretrained.masked_heads import head_tensors
from keras_transformer.pretrained.packers import misfit
from keras_transformer.pretrained.tables import Config, huggingface_weights, variable_at

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker


def save_huggingface(
    model: keras.Model,
    packer: "TextPacker | None",
    path: str | os.PathLike[str],
    *,
    class_names: tuple[str, ...] | None = None,
    overwrite: bool = False,
    model_type: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model as `config.json`, `model.safetensors` and tokenizer files; the folder appears whole or not at all.

    An encoder becomes a `BertModel` or the like, a decoder a `GPT2LMHeadModel` or `LlamaForCausalLM`, an
    encoder-decoder a `T5ForConditionalGeneration` or `BartForConditionalGeneration`. A `MaskedLanguageModel` becomes a
    `BertForMaskedLM` or the like, without a pooler. A classifier that pools the first token through a pooler becomes a
    `BertForSequenceClassification` or the like. transformers has no counterpart of other classifiers: they are written
    as their encoder with the head in tensors and fields of our own, which `load_classifier` reads and transformers
    ignores.

    Args:
        model: The model. Its weights are written in float32.
        packer: The `TextPacker` whose vocabulary the model uses, or None to write no tokenizer files.
        path: The folder to write.
        class_names: Names of a classifier's outputs, in order. Default: LABEL_0, LABEL_1, ...
        overwrite: Whether an existing folder is replaced. Default False.
        model_type: Family to write, such as "roberta". Default: the first of bert, electra, albert; gpt2, llama; t5,
            bart that has a counterpart of the model.
        fields: Further fields of `config.json`, such as `{"eos_token_id": 2}`. Default: the special tokens of the
            family's published models, where all of them agree.

    Returns:
        The `pathlib.Path` of the folder.

    Raises:
        FileExistsError: If the folder exists, is not empty, and `overwrite` is False.
        ValueError: If Hugging Face has no counterpart of the model, the packer's vocabulary or length does not fit it,
            or the number of names is not the number of outputs.

    Example:
        ```python
        import tempfile

        from keras_transformer import pretrained
        from keras_transformer.models import EncoderConfig, TransformerEncoder

        encoder = TransformerEncoder(EncoderConfig(vocabulary_size=50, num_layers=1, max_length=16))
        with tempfile.TemporaryDirectory() as folder:
            pretrained.save_huggingface(encoder, None, f"{folder}/model")
            print(pretrained.load_encoder(f"{folder}/model").config == encoder.config)
        ```
    """
    kinds = (TextClassifier, MaskedLanguageModel, *MODELS.values())
    if not isinstance(model, kinds):
        known = ", ".join(cls.__name__ for cls in kinds)
        raise ValueError(f"`model` must be one of {known}. Received: {type(model).__name__}")
    target = Path(path).expanduser()
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"The folder exists; choose another one or pass overwrite=True. Received: {target}")
    inner, ours = _inner(model)
    if packer is not None:
        _check_packer(packer, inner)
    family, config = configs.to_huggingface(ours, model_type)
    config |= family.token_ids
    if packer is not None:
        config |= _special_ids(packer, family)
    config |= fields or {}
    if family.counts_from_padding:
        config["max_position_embeddings"] = ours.max_length + config["pad_token_id"] + 1
    tensors = _tensors(inner, ours, family, config)
    if isinstance(model, TextClassifier):
        tensors, more = _with_head(model, family, tensors, class_names)
        config |= more
    elif class_names is not None:
        raise ValueError(
            f"This model has no outputs to name; only a classifier has. Received: class_names={class_names}"
        )
    elif isinstance(model, MaskedLanguageModel):
        tensors = {family.prefix + name: value for name, value in tensors.items()} | head_tensors(model, family)
        config["architectures"] = [family.masked_head.architecture]
    else:
        config["architectures"] = [family.architecture]

    with _files.new_folder(target) as folder:
        if packer is not None:
            packer.save(folder)
        _write_json(folder / "config.json", config)
        if family.kind != "encoder":
            ids = {key: value for key, value in config.items() if key.endswith("token_id") and value is not None}
            _write_json(folder / "generation_config.json", ids)
        # transformers 4 refuses a file that does not say which framework's layout it has.
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return target


def _inner(model: keras.Model) -> tuple[keras.Model, Config]:
    """Returns the part of a model that has a config, and the config of what is written of it."""
    if isinstance(model, MaskedLanguageModel):
        return model.backbone, dataclasses.replace(model.backbone.config, pooler=False)  # the head does not read it
    inner = model.encoder if isinstance(model, TextClassifier) else model
    return inner, inner.config


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_packer(packer: "TextPacker", model: keras.Model) -> None:
    config = getattr(model.config, "encoder", model.config)
    reason = misfit(packer, config.vocabulary_size)
    if reason:
        raise ValueError(reason)
    if packer.max_length > config.max_length:
        raise ValueError(
            f"The packer makes rows that are longer than the model's {config.max_length} positions. "
            f"Received: max_length={packer.max_length}"
        )


def _special_ids(packer: "TextPacker", family: Family) -> dict[str, int]:
    """Returns the special tokens of a packer by their fields in `config.json`, as far as the family names them."""
    special = packer.tokenizer.special_tokens
    ids = {
        key: packer.tokenizer.id_of(special[key]) for key in ("bos_token", "eos_token", "pad_token") if key in special
    }
    fields = {"pad_token", *(name.removesuffix("_id") for name in family.token_ids)}
    return {f"{key}_id": index for key, index in ids.items() if key in fields}


def _tensors(model: keras.Model, config: Config, family: Family, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns what the tables of the family say that a file holds."""
    return {
        weight.theirs: np.ascontiguousarray(weight.layout.join([_float32(variable_at(model, p)) for p in weight.ours]))
        for weight in huggingface_weights(family.rows(config, values), config)
        if weight.needed
    }


def _with_head(
    model: TextClassifier, family: Family, tensors: dict[str, np.ndarray], class_names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns tensors and config fields with the head added."""
    names = tuple(class_names or (f"LABEL_{i}" for i in range(model.num_outputs)))
    if len(names) != model.num_outputs:
        raise ValueError(f"The classifier has {model.num_outputs} outputs. Received: {len(names)} names, {names}")
    theirs = family.classifier
    exact = theirs is not None and model.pooling == "first" and model.encoder.pooler is not None
    layer = theirs.head if exact else OUR_HEAD
    kernel, bias = _float32(model.head.kernel), _float32(model.head.bias)
    head = {f"{layer}.weight": np.ascontiguousarray(kernel.T), f"{layer}.bias": bias}
    fields = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": configs.kind_to_huggingface(model.kind),
    }
    if exact:
        fields |= {"architectures": [theirs.architecture], theirs.dropout: model.dropout}
        return {_in_classifier(name, family): value for name, value in tensors.items()} | head, fields
    ours = {
        "kind": model.kind,
        "num_outputs": model.num_outputs,
        "pooling": model.pooling,
        "dropout": model.dropout,
    }
    return tensors | head, fields | {"architectures": [family.architecture], OUR_SECTION: {"classifier": ours}}


def _in_classifier(name: str, family: Family) -> str:
    """Returns the name of an encoder's tensor in the classifier of its family."""
    moved = family.classifier.pooler
    if moved is not None and name.startswith(f"{family.pooler}."):
        return moved + name.removeprefix(family.pooler)
    return family.prefix + name


def _float32(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))
