"""Translates the configurations of Hugging Face BERT and of keras-nlp's BertBackbone to `EncoderConfig`, and back."""

from typing import Any

from keras_transformer.models import EncoderConfig

SUPPORTED_MODEL_TYPES = ("bert",)

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
_PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


def from_huggingface(values: dict[str, Any], pooler: bool) -> EncoderConfig:
    """Translates the contents of a Hugging Face `config.json`.

    Args:
        values: The contents. Missing fields take the defaults of transformers' `BertConfig`.
        pooler: Whether the encoder shall have a pooler; `config.json` does not say.

    Returns:
        The `EncoderConfig`.

    Raises:
        ValueError: If the model is of another architecture, or uses a variant of BERT that the encoder does not have.
    """
    model_type = values.get("model_type")
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise ValueError(
            f"Checkpoints of model_type {', '.join(map(repr, SUPPORTED_MODEL_TYPES))} can be loaded. "
            f"Received: model_type={model_type!r}"
        )
    for field, plain in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("quantization_config", None),
    ):
        if values.get(field, plain) != plain:
            raise ValueError(
                f"Only BERT encoders with {field}={plain!r} can be loaded. Received: {field}={values[field]!r}"
            )
    activation = values.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"hidden_act must be one of {', '.join(_ACTIVATIONS)}. Received: {activation!r}")
    return EncoderConfig.from_dict(
        {
            "vocabulary_size": values.get("vocab_size", 30522),
            "hidden_dim": values.get("hidden_size", 768),
            "num_layers": values.get("num_hidden_layers", 12),
            "max_length": values.get("max_position_embeddings", 512),
            "num_segments": values.get("type_vocab_size", 2),
            "dropout": values.get("hidden_dropout_prob", 0.1),
            "pooler": pooler,
            "attention": {
                "num_heads": values.get("num_attention_heads", 12),
                "dropout": values.get("attention_probs_dropout_prob", 0.1),
            },
            "feed_forward": {
                "intermediate_dim": values.get("intermediate_size", 3072),
                "activation": _ACTIVATIONS[activation],
            },
            "norm": {"epsilon": values.get("layer_norm_eps", 1e-12)},
            "initializer_range": values.get("initializer_range", 0.02),
        }
    )


def to_huggingface(config: EncoderConfig) -> dict[str, Any]:
    """Translates an `EncoderConfig` to the fields of a Hugging Face `config.json`.

    Args:
        config: The encoder's config.

    Returns:
        Dict of plain values.

    Raises:
        ValueError: If BERT has no counterpart of the encoder: pre-norm, sine positions, or a head width of its own.
    """
    head_dim = config.attention.head_dim
    for field, value, plain in (
        ("residual", config.residual, "post_norm"),
        ("position.scheme", config.position.scheme, "learned"),
        ("attention.head_dim", head_dim and head_dim * config.attention.num_heads, head_dim and config.hidden_dim),
    ):
        if value != plain:
            raise ValueError(
                f"Hugging Face's BERT has no counterpart of this encoder; it needs learned positions, post-norm blocks "
                f"and heads of width hidden_dim / num_heads. Received: {field}={_get(config, field)!r}"
            )
    activation = config.feed_forward.activation
    return {
        "model_type": "bert",
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.attention.num_heads,
        "intermediate_size": config.feed_forward.intermediate_dim,
        "hidden_act": "gelu_new" if activation == "gelu_tanh" else activation,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention.dropout,
        "max_position_embeddings": config.max_length,
        # BERT always has segments: one row of zeros stands for none.
        "type_vocab_size": config.num_segments or 1,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": config.norm.epsilon,
        "position_embedding_type": "absolute",
    }


def _get(config: Any, field: str) -> Any:
    for part in field.split("."):
        config = getattr(config, part)
    return config


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


def from_keras_hub(values: dict[str, Any], pooler: bool) -> EncoderConfig:
    """Translates the contents of the `config.json` of a keras-nlp preset.

    Args:
        values: The contents: a serialised `BertBackbone`.
        pooler: Whether the encoder shall have a pooler; a `BertBackbone` always has one.

    Returns:
        The `EncoderConfig`.

    Raises:
        ValueError: If the preset holds another backbone.
    """
    if values.get("class_name") != "BertBackbone":
        raise ValueError(
            f"keras-nlp presets of a BertBackbone can be loaded. Received: class_name={values.get('class_name')!r}"
        )
    config = values["config"]
    return EncoderConfig.from_dict(
        {
            "vocabulary_size": config["vocabulary_size"],
            "hidden_dim": config["hidden_dim"],
            "num_layers": config["num_layers"],
            "max_length": config["max_sequence_length"],
            "num_segments": config["num_segments"],
            "dropout": config["dropout"],
            "pooler": pooler,
            "attention": {"num_heads": config["num_heads"], "dropout": config["dropout"]},
            # BertBackbone fixes both: the tanh form of gelu, and this epsilon.
            "feed_forward": {"intermediate_dim": config["intermediate_dim"], "activation": "gelu_tanh"},
            "norm": {"epsilon": 1e-12},
        }
    )
