"""The head with which the encoders of Hugging Face predict masked tokens: in and out."""

import os
from typing import Any

import keras
import numpy as np

from keras_transformer.models import MaskedLanguageModel
from keras_transformer.pretrained.families import FAMILIES, Family, MaskedHead
from keras_transformer.pretrained.huggingface import HuggingFaceFolder
from keras_transformer.pretrained.layouts import TRANSPOSED
from keras_transformer.pretrained.loading import build, open_source
from keras_transformer.pretrained.tables import Weight, variable_at


def load_masked_language_model(
    path: str | os.PathLike[str],
    *,
    packed: bool = False,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    max_length: int | None = None,
    num_layers: int | None = None,
    dtype: Any = None,
    name: str = "masked_language_model",
) -> MaskedLanguageModel:
    """Loads an encoder with its head for masked tokens: of BERT, ELECTRA (generator), ALBERT, DistilBERT or RoBERTa.

    Args:
        path: The folder, such as `resolve` returns, in the format of Hugging Face.
        packed: Whether the model takes rows of several texts, see `models.MaskedLanguageModel`. Default False.
        dropout: Dropout rate of embeddings and sublayers. Default: that of the checkpoint.
        attention_dropout: Dropout rate of the attention weights. Default: that of the checkpoint.
        max_length: Number of positions to keep, in tokens, at most those of the checkpoint. Default: all.
        num_layers: Number of blocks to keep, from the first, at most those of the checkpoint. Default: all.
        dtype: Dtype policy of the layers. Default: the global one.
        name: Name of the model. Default "masked_language_model".

    Returns:
        A `MaskedLanguageModel` with the weights of the checkpoint; its encoder has no pooler.

    Raises:
        FileNotFoundError: If the folder or a file in it is missing.
        ValueError: As `load_encoder`, and if the folder holds no such head, or one whose kernel is not the token table.

    Example:
        ```python
        import tempfile

        from keras_transformer import pretrained
        from keras_transformer.models import EncoderConfig, MaskedLanguageModel, TransformerEncoder

        encoder = TransformerEncoder(EncoderConfig(vocabulary_size=50, num_layers=1, max_length=16))
        with tempfile.TemporaryDirectory() as folder:
            pretrained.save_huggingface(MaskedLanguageModel(encoder), None, f"{folder}/model")
            model = pretrained.load_masked_language_model(f"{folder}/model")
            print(model.backbone.config == encoder.config)
        ```
    """
    source = open_source(path)
    head = source.family.masked_head if isinstance(source, HuggingFaceFolder) else None
    if head is None or f"{head.dense}.weight" not in source.names:
        known = ", ".join(f.masked_head.architecture for f in FAMILIES.values() if f.masked_head is not None)
        raise ValueError(
            f"The folder holds no head for masked tokens that we have ({known}); load_encoder gives its encoder, to "
            f"which MaskedLanguageModel adds a new head. Received: {source.folder}"
        )
    weights = _weights(head)
    kernel = f"{head.decoder}.weight"
    options = {
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "max_length": max_length,
        "num_layers": num_layers,
        "pooler": False,
    }
    names = {plain for weight in weights for plain in source.names_of(weight)}
    encoder = build(source, options, dtype, "encoder", head=(*names, kernel))
    if kernel in source.tensors:
        table = keras.ops.convert_to_numpy(keras.ops.cast(encoder.embeddings.tokens.table, "float32"))
        if not np.array_equal(source.read_tensor(kernel, table.shape), table):
            raise ValueError(
                f"The kernel of the logits must be the table of the token embeddings. Received: {source.folder}, where "
                f"{kernel!r} has other values"
            )
    model = MaskedLanguageModel(encoder, packed, head.activation, name=name)
    for weight in weights:
        variable = variable_at(model, weight.ours[0])
        (value,) = source.read(weight, [tuple(variable.shape)])
        variable.assign(value)
    return model


def head_tensors(model: MaskedLanguageModel, family: Family) -> dict[str, np.ndarray]:
    """Returns the tensors of a model's head under the names of a family.

    Raises:
        ValueError: If the family has no such head, or one with another activation.
    """
    head, config = family.masked_head, model.backbone.config
    if head is None:
        raise ValueError(
            f"Hugging Face has no head for masked tokens of {family.model_type!r} that we write. "
            f"Received: {type(model).__name__}"
        )
    ours, theirs = (activation or config.feed_forward.activation for activation in (model.activation, head.activation))
    if ours != theirs:
        raise ValueError(
            f"The head of {head.architecture} has the activation {theirs!r}. Received: a model with {ours!r}"
        )
    tensors = {}
    for weight in _weights(head):
        value = keras.ops.convert_to_numpy(keras.ops.cast(variable_at(model, weight.ours[0]), "float32"))
        tensors[weight.theirs] = np.ascontiguousarray(weight.layout.join([np.asarray(value)]))
    return tensors


def _weights(head: MaskedHead) -> list[Weight]:
    """The tensors of a head and our variables."""
    ours, copy = "masked_head", f"{head.decoder}.bias"
    return [
        Weight((f"{ours}.transform.kernel",), f"{head.dense}.weight", TRANSPOSED),
        Weight((f"{ours}.transform.bias",), f"{head.dense}.bias"),
        Weight((f"{ours}.transform_norm.gamma",), f"{head.norm}.weight"),
        Weight((f"{ours}.transform_norm.beta",), f"{head.norm}.bias"),
        Weight((f"{ours}.bias",), head.bias, copies=() if copy == head.bias else (copy,)),
    ]
