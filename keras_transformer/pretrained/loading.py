"""Builds our models from pretrained folders, with every stored tensor used or named."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.huggingface import HEAD_NAMES, OUR_HEAD_NAMES, OUR_SECTION, HuggingFaceFolder
from keras_transformer.pretrained.keras_hub import TASK_WEIGHTS, KerasHubPreset
from keras_transformer.pretrained.names import encoder_weights
from keras_transformer.pretrained.sources import check_folder

_ARCHITECTURE = "BertForSequenceClassification"
logger = logging.getLogger(__name__)


def load_encoder(
    path: str | os.PathLike[str],
    *,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    max_length: int | None = None,
    num_layers: int | None = None,
    pooler: bool | None = None,
    dtype: Any = None,
    name: str = "encoder",
) -> TransformerEncoder:
    """Loads the encoder of a Hugging Face BERT folder or of a keras-nlp preset folder, exactly.

    Tensors that the encoder has no place for are named in a log line.

    Args:
        path: The folder, such as `resolve` returns.
        dropout: Dropout rate of embeddings and sublayers. Default: that of the checkpoint.
        attention_dropout: Dropout rate of the attention weights. Default: that of the checkpoint.
        max_length: Number of positions to keep, in tokens, at most those of the checkpoint. Default: all.
        num_layers: Number of blocks to keep, from the first, at most those of the checkpoint. Default: all.
        pooler: Whether the encoder has a pooler. Default: as the checkpoint. A model with mean pooling never uses it,
            so pass False there.
        dtype: Dtype policy of the layers. Default: the global one.
        name: Name of the model. Default "encoder".

    Returns:
        A `TransformerEncoder` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: If the folder or a file in it is missing.
        ValueError: If the architecture is not BERT's, a file is damaged or refused, or a tensor is missing or has a
            shape that does not fit the configuration; the message names it.

    Example:
        ```python
        from keras_transformer import pretrained

        encoder = pretrained.load_encoder(pretrained.resolve("minilm"), max_length=128, pooler=False)
        print(encoder.config.hidden_dim)
        ```
    """
    source = _open(path)
    options = {
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "max_length": max_length,
        "num_layers": num_layers,
        "pooler": pooler,
    }
    return _load_encoder(source, options, dtype, name)


def load_classifier(
    path: str | os.PathLike[str],
    *,
    kind: str | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    max_length: int | None = None,
    dtype: Any = None,
    name: str = "text_classifier",
) -> TextClassifier:
    """Loads a fine-tuned classifier: a BertForSequenceClassification, a keras-nlp BertTextClassifier, or one we saved.

    Args:
        path: The folder, such as `resolve` returns.
        kind: "single_label", "multi_label" or "regression". Default: what the folder says, which for a keras-nlp preset
            is "single_label" if there are several classes.
        dropout: Dropout rate of embeddings and sublayers. Default: that of the checkpoint.
        attention_dropout: Dropout rate of the attention weights. Default: that of the checkpoint.
        max_length: Number of positions to keep, in tokens. Default: all.
        dtype: Dtype policy of the layers. Default: the global one.
        name: Name of the model. Default "text_classifier".

    Returns:
        A `TextClassifier` with the weights of the checkpoint.

    Raises:
        FileNotFoundError: If the folder or a file in it is missing.
        ValueError: As `load_encoder`, and if the folder holds no classification head.

    Example:
        ```python
        import tempfile

        from keras_transformer import pretrained
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder

        encoder = TransformerEncoder(EncoderConfig(vocabulary_size=50, num_layers=1, max_length=16))
        with tempfile.TemporaryDirectory() as folder:
            pretrained.save_huggingface(TextClassifier(encoder, num_outputs=3), None, f"{folder}/model")
            print(pretrained.load_classifier(f"{folder}/model").num_outputs)
        ```
    """
    source = _open(path)
    options = {"dropout": dropout, "attention_dropout": attention_dropout, "max_length": max_length}
    build = _keras_hub_classifier if isinstance(source, KerasHubPreset) else _huggingface_classifier
    return build(source, options, kind, dtype, name)


def load_class_names(path: str | os.PathLike[str]) -> tuple[str, ...] | None:
    """Reads the names of the classes of a Hugging Face classifier, in the order of its outputs.

    Args:
        path: The folder.

    Returns:
        Tuple of str, or None where the folder names none.

    Raises:
        FileNotFoundError: If there is no `config.json`.
        ValueError: If the ids of the names are not 0, 1, 2, ...

    Example:
        ```python
        from keras_transformer import pretrained

        print(pretrained.load_class_names(pretrained.resolve("minilm")))  # an encoder has none
        ```
    """
    names = read_json(check_folder(Path(path)) / "config.json").get("id2label")
    if not names:
        return None
    if sorted(names, key=int) != [str(i) for i in range(len(names))]:
        raise ValueError(f"id2label in config.json must name the classes 0, 1, 2, ... Received: {names}")
    return tuple(str(names[str(i)]) for i in range(len(names)))


def _open(path: str | os.PathLike[str]) -> HuggingFaceFolder | KerasHubPreset:
    folder = check_folder(Path(path).expanduser())
    values = read_json(folder / "config.json")
    if "registered_name" in values or "class_name" in values:
        return KerasHubPreset(folder)
    return HuggingFaceFolder(folder)


def _load_encoder(
    source: HuggingFaceFolder | KerasHubPreset,
    options: dict[str, Any],
    dtype: Any,
    name: str = "encoder",
    head: tuple[str, ...] = (),
) -> TransformerEncoder:
    """Builds the encoder and fills it; `head` names what the caller reads itself."""
    stored = source.config(pooler=source.has_pooler)
    config = _change(stored, options)
    encoder = TransformerEncoder(config, dtype=dtype, name=name)
    for weight in encoder_weights(config):
        variable = weight.variable(encoder)
        shape = tuple(variable.shape)
        if weight.name == "positions.table":
            variable.assign(source.read(weight, (stored.max_length, shape[1]))[: config.max_length])
        else:
            variable.assign(source.read(weight, shape))

    used = {source.name_of(weight) for weight in encoder_weights(config)} | set(head)
    asked = {source.name_of(weight) for weight in encoder_weights(stored)}  # fewer blocks or no pooler were asked for
    left = [plain for plain in source.names if plain not in used]
    usual = [source.names[plain] for plain in left if plain in asked or source.usually_unused(plain)]
    strange = [source.names[plain] for plain in left if source.names[plain] not in usual]
    if usual:
        logger.info("%s: not used: %s", source.folder, ", ".join(usual))
    if strange:
        logger.warning("%s: unexpected, not used: %s", source.folder, ", ".join(strange))
    return encoder


def _change(stored: EncoderConfig, options: dict[str, Any]) -> EncoderConfig:
    """Returns the config of the checkpoint with the options that are not None."""
    changes = {key: value for key, value in options.items() if value is not None}
    for key in ("max_length", "num_layers"):
        if key in changes and changes[key] > getattr(stored, key):
            raise ValueError(
                f"{key} can be at most that of the checkpoint, {getattr(stored, key)}. Received: {changes[key]}"
            )
    if "attention_dropout" in changes:
        changes["attention"] = dataclasses.replace(stored.attention, dropout=changes.pop("attention_dropout"))
    return dataclasses.replace(stored, **changes)


def _huggingface_classifier(
    source: HuggingFaceFolder, options: dict[str, Any], kind: str | None, dtype: Any, name: str
) -> TextClassifier:
    values = source.values
    ours = values.get(OUR_SECTION, {}).get("classifier")
    architectures = values.get("architectures") or [_ARCHITECTURE]
    if ours is None and (HEAD_NAMES[0] not in source.tensors or _ARCHITECTURE not in architectures):
        raise ValueError(
            f"The folder holds no classification head ({_ARCHITECTURE}); load_encoder gives its encoder, to which "
            f"TextClassifier adds a new head. Received: {source.folder} with architectures {architectures}"
        )
    if ours is None:
        num_outputs = len(values["id2label"]) if values.get("id2label") else values.get("num_labels", 2)
        kind = kind or configs.kind_from_huggingface(values, num_outputs)
        head_dropout = values.get("classifier_dropout")
        head = {
            "pooling": "first",
            "dropout": source.config(True).dropout if head_dropout is None else head_dropout,
        }
        names = HEAD_NAMES
        options = options | {"pooler": True}
    else:
        num_outputs, kind = ours["num_outputs"], kind or ours["kind"]
        head = {"pooling": ours["pooling"], "dropout": ours["dropout"]}
        names = OUR_HEAD_NAMES
    encoder = _load_encoder(source, options, dtype, head=names)
    model = TextClassifier(encoder, num_outputs, kind=kind, **head, name=name)
    model.head.kernel.assign(source.read_tensor(names[0], (num_outputs, encoder.config.hidden_dim)).T)
    model.head.bias.assign(source.read_tensor(names[1], (num_outputs,)))
    return model


def _keras_hub_classifier(
    source: KerasHubPreset, options: dict[str, Any], kind: str | None, dtype: Any, name: str
) -> TextClassifier:
    task = source.task()
    num_outputs = task["num_classes"]
    if kind is None and num_outputs == 1:
        raise ValueError(
            "A BertTextClassifier with one output may be a regression or one yes-or-no label, and the preset does not "
            "say which; pass kind='regression' or kind='multi_label'. Received: num_classes=1"
        )
    encoder = _load_encoder(source, options | {"pooler": True}, dtype, head=(TASK_WEIGHTS,))
    kind = kind or "single_label"
    model = TextClassifier(encoder, num_outputs, kind=kind, pooling="first", dropout=task["dropout"], name=name)
    kernel, bias = source.read_head(num_outputs)
    model.head.kernel.assign(kernel)
    model.head.bias.assign(bias)
    return model
