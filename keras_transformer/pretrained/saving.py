"""Writes an encoder or a classifier as a Hugging Face folder that transformers loads."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from safetensors.numpy import save_file

from keras_transformer import _files
from keras_transformer.models import TextClassifier, TransformerEncoder
from keras_transformer.pretrained import configs
from keras_transformer.pretrained.huggingface import HEAD_NAMES, OUR_HEAD_NAMES, OUR_SECTION
from keras_transformer.pretrained.names import encoder_weights, to_torch_layout

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker


def save_huggingface(
    model: TransformerEncoder | TextClassifier,
    packer: "TextPacker | None",
    path: str | os.PathLike[str],
    *,
    class_names: tuple[str, ...] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model as `config.json`, `model.safetensors` and tokenizer files; the folder appears whole or not at all.

    An encoder becomes a `BertModel`. A classifier that pools the first token through a pooler becomes a
    `BertForSequenceClassification`. transformers has no counterpart of other classifiers: they are written as a
    `BertModel` with the head in tensors and fields of our own, which `load_classifier` reads and transformers ignores.

    Args:
        model: The model. Its weights are written in float32.
        packer: The `TextPacker` whose vocabulary the model uses, or None to write no tokenizer files.
        path: The folder to write.
        class_names: Names of a classifier's outputs, in order. Default: LABEL_0, LABEL_1, ...
        overwrite: Whether an existing folder is replaced. Default False.

    Returns:
        The `pathlib.Path` of the folder.

    Raises:
        FileExistsError: If the folder exists, is not empty, and `overwrite` is False.
        ValueError: If BERT has no counterpart of the encoder, the packer's vocabulary or length does not fit it, or
            the number of names is not the number of outputs.

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
    if not isinstance(model, TransformerEncoder | TextClassifier):
        raise ValueError(f"`model` must be a TransformerEncoder or a TextClassifier. Received: {type(model).__name__}")
    target = Path(path).expanduser()
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"The folder exists; choose another one or pass overwrite=True. Received: {target}")
    encoder = model.encoder if isinstance(model, TextClassifier) else model
    if packer is not None:
        _check_packer(packer, encoder)
    config = configs.to_huggingface(encoder.config) | {"pad_token_id": packer.tokenizer.pad_id if packer else 0}
    tensors = _encoder_tensors(encoder)
    if isinstance(model, TextClassifier):
        tensors, fields = _with_head(model, tensors, class_names)
        config |= fields
    elif class_names is not None:
        raise ValueError(f"An encoder has no outputs to name. Received: class_names={class_names}")
    else:
        config["architectures"] = ["BertModel"]

    with _files.new_folder(target) as folder:
        if packer is not None:
            packer.save(folder)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        # transformers 4 refuses a file that does not say which framework's layout it has.
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return target


def _check_packer(packer: "TextPacker", encoder: TransformerEncoder) -> None:
    if packer.tokenizer.vocabulary_size != encoder.config.vocabulary_size:
        raise ValueError(
            f"The packer's vocabulary does not fit the encoder, which embeds {encoder.config.vocabulary_size} tokens. "
            f"Received: a vocabulary of {packer.tokenizer.vocabulary_size} tokens"
        )
    if packer.max_length > encoder.config.max_length:
        raise ValueError(
            f"The packer makes rows that are longer than the encoder's {encoder.config.max_length} positions. "
            f"Received: max_length={packer.max_length}"
        )


def _encoder_tensors(encoder: TransformerEncoder) -> dict[str, np.ndarray]:
    tensors = {
        weight.huggingface: to_torch_layout(weight, _float32(weight.variable(encoder)))
        for weight in encoder_weights(encoder.config)
    }
    if not encoder.config.num_segments:
        tensors["embeddings.token_type_embeddings.weight"] = np.zeros((1, encoder.config.hidden_dim), np.float32)
    return tensors


def _with_head(
    model: TextClassifier, tensors: dict[str, np.ndarray], class_names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns tensors and config fields with the head added."""
    names = tuple(class_names or (f"LABEL_{i}" for i in range(model.num_outputs)))
    if len(names) != model.num_outputs:
        raise ValueError(f"The classifier has {model.num_outputs} outputs. Received: {len(names)} names, {names}")
    kernel, bias = _float32(model.head.kernel), _float32(model.head.bias)
    exact = model.pooling == "first" and model.encoder.pooler is not None
    head_names = HEAD_NAMES if exact else OUR_HEAD_NAMES
    head = dict(zip(head_names, (np.ascontiguousarray(kernel.T), bias), strict=True))
    fields = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": configs.kind_to_huggingface(model.kind),
    }
    if exact:
        fields |= {"architectures": ["BertForSequenceClassification"], "classifier_dropout": model.dropout}
        return {f"bert.{name}": value for name, value in tensors.items()} | head, fields
    ours = {
        "kind": model.kind,
        "num_outputs": model.num_outputs,
        "pooling": model.pooling,
        "dropout": model.dropout,
    }
    return tensors | head, fields | {"architectures": ["BertModel"], OUR_SECTION: {"classifier": ours}}


def _float32(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")))
