"""Builds our classifiers from fine-tuned folders, of ours and of others."""

import os
from pathlib import Path
from typing import Any

from keras_transformer.models import TextClassifier
from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.families import FAMILIES
from keras_transformer.pretrained.huggingface import OUR_HEAD, OUR_SECTION, HuggingFaceFolder
from keras_transformer.pretrained.keras_hub import TASK_WEIGHTS, KerasHubPreset
from keras_transformer.pretrained.loading import build, open_source
from keras_transformer.pretrained.sources import check_folder


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
    """Loads a fine-tuned classifier: of BERT, RoBERTa or ALBERT, a keras-nlp BertTextClassifier, or one we saved.

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
    source = open_source(path)
    options = {"dropout": dropout, "attention_dropout": attention_dropout, "max_length": max_length}
    make = _from_preset if isinstance(source, KerasHubPreset) else _from_huggingface
    return make(source, options, kind, dtype, name)


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


def _from_huggingface(
    source: HuggingFaceFolder, options: dict[str, Any], kind: str | None, dtype: Any, name: str
) -> TextClassifier:
    values = source.values
    ours = values.get(OUR_SECTION, {}).get("classifier")
    if ours is None:
        theirs = source.family.classifier
        architectures = values.get("architectures") or ([theirs.architecture] if theirs else [])
        found = theirs is not None and f"{theirs.head}.weight" in source.tensors
        if not found or theirs.architecture not in architectures:
            known = ", ".join(f.classifier.architecture for f in FAMILIES.values() if f.classifier is not None)
            raise ValueError(
                f"The folder holds no classification head that we have ({known}); load_encoder gives its encoder, to "
                f"which TextClassifier adds a new head. Received: {source.folder} with architectures {architectures}"
            )
        if theirs.pooler is not None:
            source.rename(theirs.pooler, source.family.pooler)
        num_outputs = len(values["id2label"]) if values.get("id2label") else values.get("num_labels", 2)
        kind = kind or configs.kind_from_huggingface(values, num_outputs)
        head_dropout = values.get(theirs.dropout)
        head = {
            "pooling": "first",
            "dropout": source.config(True).dropout if head_dropout is None else head_dropout,
        }
        layer = theirs.head
        options = options | {"pooler": True}
    else:
        num_outputs, kind = ours["num_outputs"], kind or ours["kind"]
        head = {"pooling": ours["pooling"], "dropout": ours["dropout"]}
        layer = OUR_HEAD
    encoder = build(source, options, dtype, "encoder", head=(f"{layer}.weight", f"{layer}.bias"))
    model = TextClassifier(encoder, num_outputs, kind=kind, **head, name=name)
    model.head.kernel.assign(source.read_tensor(f"{layer}.weight", (num_outputs, encoder.config.hidden_dim)).T)
    model.head.bias.assign(source.read_tensor(f"{layer}.bias", (num_outputs,)))
    return model


def _from_preset(
    source: KerasHubPreset, options: dict[str, Any], kind: str | None, dtype: Any, name: str
) -> TextClassifier:
    task = source.task()
    num_outputs = task["num_classes"]
    if kind is None and num_outputs == 1:
        raise ValueError(
            "A BertTextClassifier with one output may be a regression or one yes-or-no label, and the preset does not "
            "say which; pass kind='regression' or kind='multi_label'. Received: num_classes=1"
        )
    encoder = build(source, options | {"pooler": True}, dtype, "encoder", head=(TASK_WEIGHTS,))
    kind = kind or "single_label"
    model = TextClassifier(encoder, num_outputs, kind=kind, pooling="first", dropout=task["dropout"], name=name)
    kernel, bias = source.read_head(num_outputs)
    model.head.kernel.assign(kernel)
    model.head.bias.assign(bias)
    return model
