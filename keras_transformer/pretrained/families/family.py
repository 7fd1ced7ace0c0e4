"""What describes one family of pretrained models, and the translation of configurations that all of them share."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_transformer.pretrained.tables import Row

Field = tuple[str, str, Any]
"""Path in our config, name in the other one, and the other library's default."""

# Hugging Face's many names of the same function; the tanh forms differ by rounding only.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "linear": "linear",
}


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Where a family keeps a head over its first token, with a tanh layer before it (our pooler).

    Args:
        architecture: Class of transformers.
        head: Name of the last layer.
        pooler: Name of the tanh layer, if another than in the encoder alone.
        dropout: Field of `config.json` with the dropout rate before the last layer.
    """

    architecture: str
    head: str = "classifier"
    pooler: str | None = None
    dropout: str = "classifier_dropout"


@dataclasses.dataclass(frozen=True)
class MaskedHead:
    """Where a family keeps the head that `MaskedLanguageModel` has.

    Args:
        architecture: Class of transformers.
        dense: Name of the dense layer.
        norm: Name of the norm.
        bias: Name of the bias of the logits.
        decoder: Name of the layer with the logits' kernel, a copy of the token table, and, or not, a copy of the bias.
        activation: What stands between dense layer and norm; None means the activation of the blocks.
    """

    architecture: str
    dense: str
    norm: str
    bias: str
    decoder: str
    activation: str | None = None


@dataclasses.dataclass(frozen=True)
class Preset:
    """A family in keras-nlp.

    Args:
        backbone: Class of the backbone.
        from_preset: Translates the backbone's config to a nested dict of ours.
        pooler: Whether the backbone always has a pooler.
        head: Name of the array with a kernel for the logits, which is there if they are not tied; "" for none.
    """

    backbone: str
    from_preset: Callable[[dict[str, Any]], dict[str, Any]]
    pooler: bool = False
    head: str = ""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of pretrained models: a translation of its configuration, and a table of its weights.

    Args:
        model_type: Its name in a Hugging Face `config.json`.
        kind: "encoder", "decoder" or "encoder_decoder".
        architecture: Class of transformers that reads what we write.
        prefix: Prefix of tensor names, which files have or have not.
        from_huggingface: Translates the values of a `config.json` to a nested dict of our config.
        to_huggingface: Translates our config to values of a `config.json`.
        rows: Returns the table of weights for our config and the values of a `config.json`.
        pooler: Name of the pooler in a Hugging Face folder; "" if the family has none.
        segments: Whether the family always has segments, so that a row of zeros stands for none.
        counts_from_padding: Whether positions count from the id of the padding token plus one.
        tied: Whether logits come from the embeddings if `config.json` does not say.
        always_tied: Whether logits come from the embeddings if the folder has no kernel for them.
        classifier: Its head, if `TextClassifier` has the same.
        masked_head: Its head for masked tokens, if it has one.
        unused: Pattern of the names of tensors that are left as a matter of course.
        token_ids: Special tokens, by their fields in `config.json`, where the caller names none.
        preset: The family in keras-nlp.
    """

    model_type: str
    kind: str
    architecture: str
    prefix: str
    from_huggingface: Callable[[dict[str, Any]], dict[str, Any]]
    to_huggingface: Callable[[Any], dict[str, Any]]
    rows: Callable[[Any, dict[str, Any]], list[Row]]
    pooler: str = ""
    segments: bool = False
    counts_from_padding: bool = False
    tied: bool = True
    always_tied: bool = False
    classifier: Classifier | None = None
    masked_head: MaskedHead | None = None
    unused: str = "$^"
    token_ids: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    preset: Preset | None = None


def read_fields(values: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """Returns a nested dict of ours from the values of another library; None counts as missing.

    Raises:
        ValueError: For an unknown activation.
    """
    nested: dict[str, Any] = {}
    for path, name, default in fields:
        value = values.get(name)
        value = default if value is None else value
        if path.endswith("activation"):
            value = activation(name, value)
        set_path(nested, path, value)
    return nested


def write_fields(config: Any, fields: Iterable[Field]) -> dict[str, Any]:
    """Returns the values for another library from a config of ours."""
    values = {}
    for path, name, _ in fields:
        value = get_path(config, path)
        values[name] = huggingface_activation(value) if path.endswith("activation") else value
    return values


def activation(name: str, value: str) -> str:
    """Returns our name of one of Hugging Face's activations.

    Raises:
        ValueError: For an unknown one.
    """
    if value not in _ACTIVATIONS:
        raise ValueError(f"{name} must be one of {', '.join(_ACTIVATIONS)}. Received: {value!r}")
    return _ACTIVATIONS[value]


def huggingface_activation(value: str) -> str:
    """Returns Hugging Face's name of one of our activations."""
    return "gelu_new" if value == "gelu_tanh" else value


def refuse_variants(model_type: str, values: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    """Raises for fields that ask for a variant that our models do not have.

    Args:
        model_type: Name of the family.
        values: Contents of a `config.json`.
        plain: For each field the one value that can be loaded.

    Raises:
        ValueError: If a field is there with another value.
    """
    for field, value in plain.items():
        if values.get(field, value) not in (value, None):
            raise ValueError(
                f"Only models of model_type {model_type!r} with {field}={value!r} can be loaded. "
                f"Received: {field}={values[field]!r}"
            )


def get_path(config: Any, path: str) -> Any:
    """Returns the value of a config at a path such as "attention.num_heads"."""
    for part in path.split("."):
        config = getattr(config, part)
    return config


def set_path(nested: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value of a nested dict at a path such as "attention.num_heads"."""
    *parents, last = path.split(".")
    for part in parents:
        nested = nested.setdefault(part, {})
    nested[last] = value


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts merged into one; later ones win."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            nested = isinstance(value, Mapping)
            result[key] = merged(result.get(key) or {}, value) if nested else value
    return result


def embedding_rows(tokens: str, positions: str, segments: str, norm: str) -> list[Row]:
    """Returns the rows of embeddings as most encoders have them, with keras-nlp's names."""
    return [
        Row("embeddings.tokens.table", tokens, "token_embedding"),
        Row("positions.table", positions, "position_embedding"),
        Row("embeddings.segment_table", segments, "segment_embedding"),
        Row("embeddings.norm", norm, "embeddings_layer_norm"),
    ]


def block_rows(
    blocks: int, theirs: Mapping[str, str], ours: str = "blocks.{}", prefix: str = "{}", preset: str = "{}"
) -> list[Row]:
    """Returns the rows of all blocks.

    Args:
        blocks: Number of blocks.
        theirs: For each layer of a block of ours its name in Hugging Face's.
        ours: Path of a block of ours, with {} for its number.
        prefix: Path of a block of Hugging Face's.
        preset: Path of a block of keras-nlp's.
    """
    return [
        Row(
            f"{ours.format(i)}.{layer}",
            f"{prefix.format(i)}.{name}",
            f"{preset.format(i)}/{PRESET_LAYERS[layer]}" if layer in PRESET_LAYERS else "",
        )
        for i in range(blocks)
        for layer, name in theirs.items()
    ]


PRESET_LAYERS = {
    "attention.query": "_self_attention_layer/query_dense",
    "attention.key": "_self_attention_layer/key_dense",
    "attention.value": "_self_attention_layer/value_dense",
    "attention.output_projection": "_self_attention_layer/output_dense",
    "attention_norm": "_self_attention_layer_norm",
    "encoder_attention.query": "_cross_attention_layer/query_dense",
    "encoder_attention.key": "_cross_attention_layer/key_dense",
    "encoder_attention.value": "_cross_attention_layer/value_dense",
    "encoder_attention.output_projection": "_cross_attention_layer/output_dense",
    "encoder_attention_norm": "_cross_attention_layer_norm",
    "feed_forward.intermediate": "_feedforward_intermediate_dense",
    "feed_forward.output_projection": "_feedforward_output_dense",
    "feed_forward_norm": "_feedforward_layer_norm",
}
"""Layers of the blocks that most backbones of keras-nlp are made of."""
